// Turns data into elements. Only the literal text of our own templates is ever
// parsed; whatever is put between becomes text, an attribute's value or a
// listener, so that no name or reason of a stranger is read as markup.

/**
 * @typedef {{ strings: TemplateStringsArray, values: unknown[], drawn: boolean, key?: string }} Markup
 * @typedef {{ node: number, name: string }} Hole an attribute of an element, or with no name what stands at a comment
 * @typedef {{ content: DocumentFragment, holes: Hole[] }} Prepared
 * @typedef {{ set: (value: unknown) => void }} Part
 * @typedef {{ strings: TemplateStringsArray|null, parts: Part[], node: ChildNode }} Item
 */

/** @returns {Markup} */
export const html = (/** @type {TemplateStringsArray} */ strings, /** @type {unknown[]} */ ...values) => ({ strings, values, drawn: false });

/** The same for what is within an svg element. @returns {Markup} */
export const svg = (/** @type {TemplateStringsArray} */ strings, /** @type {unknown[]} */ ...values) => ({ strings, values, drawn: true });

/** Markup of a list, which keeps its elements when the order changes. @returns {Markup} */
export const keyed = (/** @type {string|number} */ key, /** @type {Markup} */ markup) => ({ ...markup, key: String(key) });

/** Text of strangers without the characters that would reorder or hide ours. */
export const plain = (/** @type {unknown} */ text) => String(text).replace(/[^\P{Cc}\n\t]|[\p{Cf}\p{Co}\p{Zl}\p{Zp}]/gu, "\ufffd");

// The one place where text is parsed, which the page's policy enforces where
// browsers know trusted types.
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("spare", { createHTML: (/** @type {string} */ s) => s }) ??
  { createHTML: (/** @type {string} */ s) => s };

/** @type {WeakMap<TemplateStringsArray, Prepared>} */
const templates = new WeakMap();

const barred = /^(on|src|style|srcdoc|action|formaction)/;

/** @param {Markup} m @returns {Prepared} */
function prepare({ strings, drawn }) {
  const known = templates.get(strings);
  if (known !== undefined) {
    return known;
  }
  let source = "";
  let within = false; // a tag
  strings.forEach((s, i) => {
    const open = s.lastIndexOf("<");
    const close = s.lastIndexOf(">");
    within = open === close ? within : open > close;
    source += s + (i === strings.length - 1 ? "" : within ? `hole-${i}` : "<!--hole-->");
  });
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(drawn ? `<svg>${source}</svg>` : source);
  const content = template.content;
  if (drawn) {
    content.replaceChildren(...(content.firstChild?.childNodes ?? []));
  }
  /** @type {Hole[]} */
  const holes = [];
  const walker = document.createTreeWalker(content, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_COMMENT);
  let next = 0;
  for (let node = 0; walker.nextNode(); node++) {
    const at = walker.currentNode;
    if (at instanceof Element) {
      // The order of holes is that of the text; each is found by its number.
      for (const { name, value } of [...at.attributes]) {
        if (value.startsWith("hole-")) {
          if (barred.test(name)) {
            throw new Error(`the attribute ${name} takes no values`);
          }
          holes[Number(value.slice(5))] = { node, name };
          at.removeAttribute(name);
        }
      }
    } else {
      while (holes[next] !== undefined) {
        next++;
      }
      holes[next] = { node, name: "" };
    }
  }
  if (holes.filter(() => true).length !== strings.length - 1) {
    throw new Error(`a value stands where none can: ${source}`);
  }
  const prepared = { content, holes };
  templates.set(strings, prepared);
  return prepared;
}

/** @param {Markup} markup */
function instantiate(markup) {
  const { content, holes } = prepare(markup);
  const fragment = document.importNode(content, true);
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_COMMENT);
  /** @type {Node[]} */
  const nodes = [];
  while (walker.nextNode()) {
    nodes.push(walker.currentNode);
  }
  const parts = holes.map(({ node, name }) => (name === "" ? child(/** @type {Comment} */ (nodes[node])) : attribute(/** @type {Element} */ (nodes[node]), name)));
  return { fragment, parts };
}

/** @param {Part[]} parts @param {unknown[]} values */
const fill = (parts, values) => parts.forEach((part, i) => part.set(values[i]));

/** @param {Element} element @param {string} name @returns {Part} */
function attribute(element, name) {
  /** @type {unknown} */
  let last;
  const kind = name[0];
  const word = name.slice(1);
  if (kind === "@") {
    element.addEventListener(word, (event) => /** @type {any} */ (last)?.(event));
    return { set: (value) => { last = value; } };
  }
  const put = kind === "." ? (/** @type {any} */ v) => { /** @type {any} */ (element)[word] = v; } :
    kind === "?" ? (/** @type {unknown} */ v) => { element.toggleAttribute(word, Boolean(v)); } :
      (/** @type {unknown} */ v) => {
        if (v === null || v === undefined || v === false) {
          element.removeAttribute(name);
        } else if (name === "href" && !String(v).startsWith("#")) {
          throw new Error("links lead to views of this page only");
        } else {
          element.setAttribute(name, plain(v));
        }
      };
  return {
    set: (value) => {
      if (value !== last) {
        last = value;
        put(value);
      }
    },
  };
}

const isMarkup = (/** @type {any} */ v) => v !== null && typeof v === "object" && "strings" in v;
const isNothing = (/** @type {unknown} */ v) => v === null || v === undefined || v === false || v === "";

/** What stands before a comment. @param {Comment} end @returns {Part} */
function child(end) {
  const start = document.createComment("");
  end.before(start);
  /** @type {{strings: TemplateStringsArray, parts: Part[]}|null} */
  let one = null; // the markup that is all there is
  /** @type {Map<string, Item>|null} */
  let list = null;
  /** @type {unknown} */
  let last = "";

  const clear = () => {
    while (start.nextSibling !== end) {
      start.nextSibling?.remove();
    }
    one = list = null;
  };

  /** @param {any} value */
  const setOne = (value) => {
    if (one === null || one.strings !== value.strings) {
      clear();
      const { fragment, parts } = instantiate(value);
      fill(parts, value.values);
      one = { strings: value.strings, parts };
      end.before(fragment);
    } else {
      fill(one.parts, value.values);
    }
  };

  /** @param {any[]} values */
  const setList = (values) => {
    if (list === null) {
      clear();
    }
    const old = list ?? new Map();
    /** @type {Map<string, Item>} */
    const now = new Map();
    let at = start.nextSibling;
    values.flat().forEach((value, i) => {
      if (isNothing(value)) {
        return;
      }
      const key = isMarkup(value) && value.key !== undefined ? `=${value.key}` : `#${i}`;
      let item = old.get(key);
      if (item === undefined || item.strings !== (isMarkup(value) ? value.strings : null) || now.has(key)) {
        item = make(value);
      } else {
        old.delete(key);
        if (isMarkup(value)) {
          fill(item.parts, value.values);
        } else {
          item.node.nodeValue = plain(value);
        }
      }
      now.set(now.has(key) ? `${key}#${i}` : key, item);
      if (item.node === at) {
        at = item.node.nextSibling;
      } else {
        move(item.node, at);
      }
    });
    while (at !== null && at !== end) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    list = now;
  };

  /** Keeps the focus where the browser can. @param {any} node @param {ChildNode|null} before */
  const move = (node, before) => {
    const parent = /** @type {any} */ (end.parentNode);
    if (node.parentNode === parent && node.isConnected && parent.moveBefore) {
      parent.moveBefore(node, before);
    } else {
      parent.insertBefore(node, before);
    }
  };

  return {
    set: (value) => {
      if (Array.isArray(value)) {
        setList(value);
      } else if (isMarkup(value)) {
        setOne(value);
      } else if (one !== null || list !== null || value !== last) {
        clear();
        if (!isNothing(value)) {
          end.before(value instanceof Node ? value : plain(value));
        }
      }
      last = value;
    },
  };
}

/** One of a list, which is one element. @param {any} value @returns {Item} */
function make(value) {
  if (!isMarkup(value)) {
    return { strings: null, parts: [], node: document.createTextNode(plain(value)) };
  }
  const { fragment, parts } = instantiate(value);
  fill(parts, value.values);
  const node = fragment.firstElementChild;
  if (node === null || fragment.childElementCount !== 1) {
    throw new Error("what a list holds is one element each");
  }
  return { strings: value.strings, parts, node };
}

/** @type {WeakMap<Element, Part>} */
const roots = new WeakMap();

/** Has an element hold the markup and nothing else. @param {Markup} markup @param {Element} into */
export function render(markup, into) {
  let part = roots.get(into);
  if (part === undefined) {
    const end = document.createComment("");
    into.replaceChildren(end);
    part = child(end);
    roots.set(into, part);
  }
  part.set(markup);
}
