// Tables that can be sorted by any column, with the mouse or the keyboard.

const SCALES = { ms: 1e3, s: 1e6, B: 1, kB: 1e3, MB: 1e6, GB: 1e9, "B/s": 1, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9, KiB: 1024 };

/** The number that a cell begins with, in one unit; what is lost comes after all numbers, what is unknown last. */
function sortKey(text) {
  if (/^lost\b/.test(text)) return 1e300;
  const found = /^(-?[\d,]*\.?\d+(?:e-?\d+)?)\s*([A-Za-z/]*)/.exec(text.trim());
  return found ? Number(found[1].replaceAll(",", "")) * (SCALES[found[2]] ?? 1) : null;
}

function sortable(table) {
  const body = table.tBodies[0];
  if (!body || body.rows.length < 2) return;
  for (const head of table.tHead.rows[0].cells) {
    const name = head.textContent;
    const sort = () => {
      const isDown = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const rows = [...body.rows].map((row, index) => ({ row, index, text: row.cells[head.cellIndex].textContent }));
      const numeric = rows.some(({ text }) => sortKey(text) !== null);
      rows.sort((a, b) => {
        const [one, two] = numeric ? [sortKey(a.text), sortKey(b.text)] : [a.text, b.text];
        if (one === two) return a.index - b.index;
        if (one === null || two === null) return one === null ? 1 : -1;
        return (one < two ? -1 : 1) * (isDown ? -1 : 1);
      });
      body.append(...rows.map(({ row }) => row));
    };
    head.replaceChildren(node("button", { type: "button", class: "sort", on: { click: sort } }, name));
  }
}
