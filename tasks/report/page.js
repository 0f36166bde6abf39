// Says in words what a cell of the crosstable says in colours. The page can be read without it.
const readout = document.getElementById("cross-readout");
const table = document.querySelector("table.heat");
if (readout && table) {
  const names = [...table.querySelectorAll("tbody th .who")].map((name) => name.textContent);
  const say = (event) => {
    const cell = event.target.closest("td");
    if (!cell || cell.classList.contains("self")) return;
    const [score, points, stronger] = [...cell.children].map((part) => part.textContent);
    const row = names[cell.parentNode.rowIndex - 1];
    const column = names[cell.cellIndex - 1];
    const met = score ? `${points.replace("/", " points of ")} games (${score} %)` : "no game";
    const chance = stronger ? `; stronger with a chance of ${stronger} %` : "";
    readout.textContent = `\u2068${row}\u2069 against \u2068${column}\u2069: ${met}${chance}`;
  };
  readout.textContent = "Point at a cell or tap on it to read it in words.";
  table.addEventListener("pointerover", say);
  table.addEventListener("click", say);
}
// Where more is to be scrolled to, its edge fades; what is folded up is unfolded on paper.
const wide = document.querySelectorAll(".links, .cross .scroll");
const hint = (box) => {
  box.classList.toggle("more-left", box.scrollLeft > 1);
  box.classList.toggle("more-right", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
};
for (const box of wide) box.addEventListener("scroll", () => hint(box), { passive: true });
const hintAll = () => wide.forEach(hint);
addEventListener("resize", hintAll);
hintAll();
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details:not([open])")];
  for (const part of unfolded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of unfolded) part.open = false;
});
