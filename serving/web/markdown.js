// Shows a model card.

// Markdown as model cards use it: headings, paragraphs, lists, tables, code, quotes, images, links, emphasis.
// Everything becomes text nodes and elements; no HTML of the card is ever interpreted.
export function markdown(source, picture) { // picture: name of a picture → its address
  const root = document.createDocumentFragment();
  const lines = source.replace(/^---\n[\s\S]*?\n---\n/, "").split("\n");
  const add = (tag, parent = root) => parent.appendChild(document.createElement(tag));
  const take = (pattern) => { const taken = []; while (lines.length && pattern.test(lines[0])) taken.push(lines.shift()); return taken; };
  while (lines.length) {
    const line = lines[0];
    const heading = /^(#{1,4})\s+(.*)/.exec(line);
    if (heading) { inline(add(`h${heading[1].length}`), heading[2], picture); lines.shift(); }
    else if (line.startsWith("```")) {
      lines.shift();
      add("code", add("pre")).textContent = take(/^(?!```)/).join("\n");
      lines.shift();
    }
    else if (line.startsWith("|")) {
      const scroll = add("div"); scroll.className = "scroll";
      const table = add("table", scroll);
      take(/^\|/).forEach((row, index) => {
        if (!/[^\s:|-]/.test(row)) return; // the line below the header, or a header without words
        const tr = add("tr", table);
        row.replace(/^\||\|\s*$/g, "").split("|").forEach((cell) => inline(add(index ? "td" : "th", tr), cell.trim(), picture));
      });
    }
    else if (/^\s*([-*]|\d+\.)\s/.test(line)) {
      const list = add(/^\s*\d/.test(line) ? "ol" : "ul");
      take(/^\s*([-*]|\d+\.)\s|^\s+\S/).forEach((item) => {
        if (/^\s*([-*]|\d+\.)\s/.test(item)) inline(add("li", list), item.replace(/^\s*([-*]|\d+\.)\s+/, ""), picture);
        else inline(list.lastChild, ` ${item.trim()}`, picture);
      });
    }
    else if (line.startsWith(">")) inline(add("blockquote"), take(/^>/).map((l) => l.replace(/^>\s?/, "")).join(" "), picture);
    else if (!line.trim()) lines.shift();
    else inline(add("p"), [lines.shift(), ...take(/^(?![#|>]|```|\s*([-*]|\d+\.)\s)\s*\S/)].join(" "), picture);
  }
  return root;
}

function inline(parent, text, picture) {
  const pattern = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*|!\[([^\]]*)\]\(([^)\s]+)\)|\[([^\]]+)\]\(([^)\s]+)\)/g;
  let at = 0;
  for (const match of text.matchAll(pattern)) {
    parent.append(text.slice(at, match.index));
    at = match.index + match[0].length;
    const [, code, strong, weak, alt, source, label, target] = match;
    const element = document.createElement(code ? "code" : strong ? "strong" : weak ? "em" : source ? "img" : "a");
    if (source) Object.assign(element, { alt, src: picture(source) });
    else element.textContent = code ?? strong ?? weak ?? label;
    if (target && /^(https?:|#|\/)/.test(target)) Object.assign(element, { href: target, rel: "noopener" });
    parent.append(element);
  }
  parent.append(text.slice(at));
}
