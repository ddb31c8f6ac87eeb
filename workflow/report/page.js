// A click on a column's head sorts the rows by it, and the other way round; what has no value stays at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
      const numbers = head.classList.contains("right");
      const value = (row) => {
        const cell = row.cells[column];
        if (!numbers) return cell.textContent.trim();
        return "value" in cell.dataset ? Number(cell.dataset.value) : null;
      };
      const compare = (a, b) => {
        const [one, other] = [value(a), value(b)];
        if (one === null || other === null) return (one === null) - (other === null);
        return order * (numbers ? one - other : one.localeCompare(other));
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare));
    });
  });
}
// What is wider than its box can be scrolled with the keyboard too.
const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
});
document.querySelectorAll(".scroll").forEach((box) => watch.observe(box));
// A link to something that is folded opens it.
const reveal = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
};
addEventListener("hashchange", reveal);
reveal();
// Browsers print what is folded only if it is open.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
