// Ranks the book's sections (window.bookSections) for the words in the address, by BM25 of each field: the title, the
// labels that its author gave it, what is in bold, the text, the code.
// Works from the disk: nothing is fetched. `Stemmer` is Sphinx's, from language_data.js.
"use strict";

const SHOWN = 30;
const WEIGHT = { title: 2.5, labels: 1, key: 0.8, text: 1, code: 0.3 };
const SECOND = 0.5; // what repeats or asks about what a section explains
const REPEATS = /^(Exercises|Summary|Can you say it without looking\?|Where next)$/;
const BESIDE = /homework-|instructors|claims|lecture|variants|references|notation|speed/;
const FILLERS = new Set("a an and any are be can definition do does equation example explained for formula from get has have how i if in is it its many me mean means much my of on "
  .concat("or should so than that the there to too use used very vs versus was we what when where which why with you").split(" "));

// British and American spellings of one word meet in one of them.
const SPELLINGS = [
  [/is(e[srd]?|ing|ation|ations)$/, "iz$1"], [/ys(e[srd]?|ing)$/, "yz$1"], [/(?<=[a-z]{2})our/, "or"],
  [/tre(s?)$/, "ter$1"], [/ll(ed|ing|er)$/, "l$1"], [/^grey/, "gray"], [/^artefact/, "artifact"],
];

const stemmer = new Stemmer();
const stems = new Map();
function stem(word) {
  if (!stems.has(word)) {
    stems.set(word, stemmer.stemWord(SPELLINGS.reduce((now, [from, to]) => now.replace(from, to), word)));
  }
  return stems.get(word);
}

// "1x1", "1×1" and "1 × 1" are one word, "k×k" too.
function wordsOf(text) {
  return text.normalize("NFKD").replace(/\p{Diacritic}/gu, "").toLowerCase()
    .replace(/\b(\d+|[a-z])\s*×\s*(?=(?:\d+|[a-z])\b)/g, "$1x").replace(/\b(\d+) x (?=\d)/g, "$1x")
    .replace(/[’']s\b/g, "")
    .split(/[^\p{Letter}\p{Number}]+/u).filter(Boolean).map(stem);
}

function counted(words) {
  const counts = new Map();
  for (const word of words) counts.set(word, (counts.get(word) || 0) + 1);
  return counts;
}

const parts = window.bookSections.map((part) => {
  const words = Object.fromEntries(Object.keys(WEIGHT).map((field) => [field, wordsOf(part[field])]));
  return { ...part, words, joined: ` ${words.title.join(" ")} . ${words.text.join(" ")} `,
    counts: Object.fromEntries(Object.entries(words).map(([field, list]) => [field, counted(list)])) };
});
const pageTitles = new Map(parts.filter((part) => !part.anchor).map((part) => [part.page, part.title]));
const meanLength = Object.fromEntries(Object.keys(WEIGHT).map((field) =>
  [field, parts.reduce((sum, part) => sum + part.words[field].length, 0) / parts.length]));
const pageWords = new Map(parts.filter((part) => !part.anchor).map((part) => [part.page, new Set(part.words.title)]));
const documents = new Map(); // in how many sections each word is
for (const part of parts) {
  for (const word of new Set(Object.values(part.counts).flatMap((counts) => [...counts.keys()]))) {
    documents.set(word, (documents.get(word) || 0) + 1);
  }
}

// A word that the book has as two, or that begins a longer one; or the word as it is.
function known(words) {
  return words.flatMap((word) => {
    if (documents.has(word)) return [word];
    for (let at = 3; at < word.length; at++) {
      const halves = [stem(word.slice(0, at)), word.slice(at)];
      if (halves.every((half) => half.length > 2 && documents.has(half))) return halves;
    }
    const longer = word.length > 3 ? [...documents.keys()].filter((one) => one.startsWith(word)) : [];
    return longer.length ? [longer.reduce((a, b) => (documents.get(b) > documents.get(a) ? b : a))] : [word];
  });
}

// Two words that the book writes as one.
function joined(words) {
  return words.slice(1).flatMap((word, i) => {
    const one = stem(words[i] + word);
    return documents.has(one) ? [[...words.slice(0, i), one, ...words.slice(i + 2)]] : [];
  });
}

function weightOf(word) {
  const n = documents.get(word) || 0;
  return Math.log(1 + (parts.length - n + 0.5) / (n + 0.5));
}

function score(part, words) {
  let sum = 0, matched = 0, wanted = 0;
  const page = pageWords.get(part.page) || new Set();
  for (const word of words) {
    const weight = weightOf(word);
    let found = page.has(word) ? 0.3 : 0;
    for (const field in WEIGHT) {
      const times = part.counts[field].get(word) || 0;
      found += WEIGHT[field] * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * part.words[field].length / meanLength[field]));
    }
    wanted += weight;
    if (found) matched += weight;
    sum += weight * found;
  }
  if (!matched) return 0;
  sum *= (matched / wanted) ** 3;
  if (words.length > 1 && part.joined.includes(` ${words.join(" ")} `)) sum *= 1.5;
  return REPEATS.test(part.title) || BESIDE.test(part.page) ? SECOND * sum : sum;
}

// Names in one entry of the glossary stand for one another.
function meanings(words) {
  const asked = ` ${words.join(" ")} `;
  const found = [words];
  for (const { names } of parts.filter((part) => part.names)) {
    const spelled = names.map((name) => wordsOf(name).join(" "));
    const used = spelled.find((name) => asked.includes(` ${name} `));
    if (!used) continue;
    for (const other of spelled) {
      if (other !== used) found.push(asked.replace(` ${used} `, ` ${other} `).trim().split(" "));
    }
  }
  return found;
}

function rank(query) {
  const all = query.toLowerCase().split(/\s+/);
  const bare = all.filter((word) => !FILLERS.has(word.replace(/[?!.,]$/, "")));
  const asked = known(wordsOf((bare.length ? bare : all).join(" ")));
  const phrases = [asked, ...joined(asked)].flatMap(meanings);
  const texts = phrases.map((words) => ` ${words.join(" ")} `);
  const value = new Map(parts.map((part) =>
    [part, Math.max(...phrases.map((words, i) => score(part, words) * (i ? 0.9 : 1)))]));
  // What an entry of the glossary leads to is almost as good as the entry, and an entry for just these words comes first.
  for (const entry of parts.filter((part) => part.names)) {
    const names = entry.names.map((name) => ` ${wordsOf(name).join(" ")} `);
    if (!names.some((name) => texts.some((text) => text.includes(name)))) continue;
    for (const part of parts.filter((one) => entry.places.includes(`${one.page}#${one.anchor}`))) {
      value.set(part, Math.max(value.get(part), 0.9 * value.get(entry)));
    }
    if (names.some((name) => texts.includes(name))) value.set(entry, 10 * value.get(entry));
  }
  const results = parts.filter((part) => value.get(part) > 0).sort((a, b) => value.get(b) - value.get(a)).slice(0, SHOWN);
  return { phrases, results };
}

// The piece of the text with most of the words, each of them marked.
function snippet(text, words) {
  const wanted = new Set(words);
  const pieces = text.split(/(\s+)/);
  const hit = pieces.map((piece) => wordsOf(piece).some((word) => wanted.has(word)));
  let best = 0, most = -1;
  for (let from = 0; from < pieces.length; from += 10) {
    const here = hit.slice(from, from + 70).filter(Boolean).length;
    if (here > most) [best, most] = [from, here];
  }
  const line = document.createElement("p");
  line.className = "context";
  if (best) line.append("… ");
  pieces.slice(best, best + 70).forEach((piece, i) => {
    if (!hit[best + i]) return line.append(piece);
    line.appendChild(document.createElement("mark")).textContent = piece;
  });
  if (best + 70 < pieces.length) line.append(" …");
  return line;
}

function show(query) {
  const place = document.getElementById("search-results");
  const { phrases, results } = rank(query);
  const status = place.appendChild(document.createElement("p"));
  status.setAttribute("role", "status");
  status.textContent = results.length ? `${results.length === SHOWN ? "The best " : ""}${results.length} places for “${query}”`
    : `No section has “${query}”. Try fewer words, or look into the glossary.`;
  const list = place.appendChild(document.createElement("ul"));
  list.className = "search";
  for (const part of results) {
    const item = list.appendChild(document.createElement("li"));
    const link = item.appendChild(document.createElement("a"));
    link.href = `${part.page}.html${part.anchor ? `#${part.anchor}` : ""}`;
    const page = pageTitles.get(part.page);
    link.textContent = part.anchor && page ? `${page} › ${part.title}` : part.title;
    item.appendChild(snippet(part.text, phrases.flat()));
  }
}

const query = (new URLSearchParams(location.search).get("q") || "").trim();
for (const field of document.querySelectorAll('input[name="q"]')) field.value = query;
if (query) show(query);
