// What the theme leaves to a page: headings with a level, code that a keyboard can scroll, views that follow the theme.

for (const caption of document.querySelectorAll('.caption[role="heading"]')) caption.setAttribute("aria-level", "2");

document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
const tools = document.querySelector(".content-icon-container");
tools?.setAttribute("role", "region");
tools?.setAttribute("aria-label", "Tools of this page");

const WIDE = 600; // pixels; see lessons.css
addEventListener("load", () => {
  for (const figure of document.querySelectorAll(".cell_output img")) figure.classList.toggle("wide", figure.naturalWidth > WIDE);
  reachable();
});

/** What can be pushed sideways must be within reach of the arrow keys. */
function reachable() {
  for (const box of document.querySelectorAll("pre, .table-wrapper, .cell_output")) {
    if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
  }
}
addEventListener("resize", reachable);
addEventListener("toggle", reachable, true);

/** Pages in frames know the system's colours; what this page's button chose they must be told. */
const system = matchMedia("(prefers-color-scheme: dark)");
const frames = [...document.querySelectorAll(".cell_output iframe")];
function turn() {
  const { theme } = document.body.dataset;
  const dark = theme === "dark" || (theme !== "light" && system.matches);
  for (const { contentDocument: inside } of frames) {
    if (!inside?.documentElement) continue; // not parsed yet: it is told when it is loaded
    inside.documentElement.style.colorScheme = dark ? "dark" : "light";
    inside.querySelector(".mirada")?.eye?.state.set({ dark });
  }
}
new MutationObserver(turn).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
system.addEventListener("change", turn);

/** What can be tried is as high as its frame, and no bar to scroll with stands inside. A view fills the frame it gets. */
function fit(frame) {
  const { body } = frame.contentDocument ?? {};
  if (!body?.querySelector(".try")) return;
  const border = 2;
  new ResizeObserver(() => { frame.style.height = `${Math.ceil(body.offsetHeight) + border}px`; }).observe(body);
}
for (const frame of frames) {
  const ready = () => { turn(); fit(frame); };
  frame.addEventListener("load", ready);
  if (frame.contentDocument?.readyState === "complete") ready();
}
