import { h } from "./toolkit.js";

export class NoFile extends Error {}

// A file of a figure, fetched when it is first needed: of a widget from its kernel, as bytes; of a page in base64 from a
// script in the book's folder _static, since a page that is opened from the disk may read no file.
export const fetchFile = (model, figure, name) => (model.send ? fromKernel(model, name) : fromPage(figure, name));

function fromPage(figure, name) {
  const key = `${figure}/${name}`;
  return new Promise((resolve, reject) => {
    const root = document.documentElement.dataset.content_root ?? "../";
    const script = h("script", {
      src: `${root}_static/figures/${key}.js`,
      onload: () => {
        script.remove();
        const content = globalThis.cnnlibFiles?.[key];
        // Some servers have a page for every address.
        if (!content) return reject(new NoFile(key));
        delete globalThis.cnnlibFiles[key];
        resolve(content);
      },
      onerror: () => {
        script.remove();
        reject(new NoFile(key));
      },
    });
    document.head.append(script);
  });
}

function fromKernel(model, name) {
  return new Promise((resolve, reject) => {
    const end = (settle, value) => {
      model.off("msg:custom", hear);
      clearTimeout(waited);
      settle(value);
    };
    const hear = (message, buffers) => {
      if (message.file !== name) return;
      const { buffer, byteOffset, byteLength } = buffers[0];
      end(resolve, new Uint8Array(buffer, byteOffset, byteLength));
    };
    const waited = setTimeout(() => end(reject, new NoFile(name)), 60000);
    model.on("msg:custom", hear);
    model.send({ file: name });
  });
}
