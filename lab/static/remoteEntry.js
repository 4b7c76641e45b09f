// A JupyterLab extension, as `jupyter labextension list` shows it. jupyterlab-myst sees one notebook: a citation, and a
// reference to another chapter, are open in it. This fills them in, from the table that _ext/lab_references.py wrote.
(() => {
  const NAME = "cnnbook-lab";
  const HERE = document.currentScript.src;

  const text = (value) => [{ type: "text", value }];
  const link = (node, url, shown) => {
    node.type = "link";
    node.url = url;
    node.internal = true;
    if (!node.children?.length) node.children = text(shown);
  };

  // Settle what a node and those below it leave open; whether there was anything.
  function settle(node, table, references) {
    const below = (node.children ?? []).map((child) => settle(child, table, references));
    return settleOne(node, table, references) || below.includes(true);
  }

  function settleOne(node, { papers, places, equations, exercises, terms }, references) {
    const name = node.identifier;
    const open = node.type === "crossReference" && !node.resolved;
    if (node.type === "cite" && node.error && papers[node.label]) {
      const { cited, html, url } = papers[node.label];
      node.children = text(node.kind === "narrative" ? `${cited[0]} (${cited[1]})` : cited.join(", "));
      node.error = undefined;
      references.cite.data[node.label] = { label: node.label, html, url };
    } else if (node.type === "math" && node.enumerator !== equations[name]?.number) {
      node.enumerator = equations[name]?.number; // the book numbers what has a label
    } else if (node.type === "exercise" && exercises[name]) {
      node.enumerator = exercises[name].number;
    } else if (node.type === "crossReference" && equations[name]) {
      const { file, number } = equations[name];
      node.children = text(`(${number})`);
      if (open) link(node, file);
    } else if (node.type === "crossReference" && exercises[name]) {
      const { file, number } = exercises[name];
      const shown = (node.children ?? []).map((child) => child.value).join("");
      if (/^Exercise\s\d+$/.test(shown)) node.children = text(`Exercise ${number}`); // not the author's words
      if (open) link(node, file, `Exercise ${number}`);
    } else if (open && places[name]) {
      link(node, places[name].file, places[name].title);
    } else if (open && terms[name.replace(/^term-/, "")]) {
      Object.assign(node, { type: "abbreviation", title: terms[name.replace(/^term-/, "")] });
    } else if (node.type === "solution" && node.gate) {
      node.hidden = node.gate === "end"; // an empty bar
      node.gate = undefined;
    } else return false;
    return true;
  }

  async function activate(app) {
    const table = await (await fetch(new URL("references.json", HERE))).json();
    const style = document.head.appendChild(document.createElement("style"));
    style.textContent = ".myst abbr { text-decoration: underline dotted; cursor: help; }"; // a term of the glossary
    const settled = new WeakSet();
    let waiting = null;
    function settleAll() {
      waiting = null;
      for (const panel of app.shell.widgets("main"))
        for (const { mystModel: model } of panel.content?.widgets ?? []) {
          if (!model?.mdast || settled.has(model)) continue;
          settled.add(model);
          if (settle(model.mdast, table, model.references)) model.mdast = { ...model.mdast };
        }
    }
    // jupyterlab-myst gives all cells other models when it renders one, and signals nothing; the page changes with them.
    const observer = new MutationObserver(() => (waiting ??= setTimeout(settleAll, 100)));
    observer.observe(document.body, { childList: true, subtree: true });
  }

  const plugin = { id: `${NAME}:references`, autoStart: true, activate };
  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB[NAME] = { init: async () => {}, get: async () => () => ({ __esModule: true, default: plugin }) };
})();
