// Last, so that everything above is known. A fault in one part leaves the others, and the page without them, as it is.

for (const part of [overTime, percentiles, sweep, slowest, sequence]) {
  try {
    part();
  } catch (fault) {
    console.error(part.name, fault);
  }
}
document.querySelectorAll("main table").forEach((table) => table.closest(".explore") || sortable(table));
document.documentElement.classList.add("alive");
