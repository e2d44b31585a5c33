for (const room of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".room"))) {
  show(room, { carried: room, alone: false, opens: JSON.parse(room.dataset.opens) });
}
for (const host of document.querySelectorAll(".try")) {
  trial(host, JSON.parse(host.parentElement.querySelector("script[data-trial]").textContent));
}
