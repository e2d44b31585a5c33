for (const room of document.querySelectorAll(".room")) {
  show(room, { carried: room, alone: false, opens: JSON.parse(room.dataset.opens) });
}