"use strict";
// The page is complete without this script: it filters clips, hides overlays, moves lines on waveforms and switches themes.
(() => {
  const field = (name) => document.getElementById(name);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const kept = all(".sample"), rejected = all(".case"), reasons = all(".reason");
  const count = (number, noun) => `${number.toLocaleString("en")} ${noun}`;

  const matches = (card) => {
    const split = field("split").value, text = field("text").value.trim().toLowerCase();
    return (!split || card.dataset.split === split) && card.dataset.text.includes(text);
  };
  const keptMatches = (card) => {
    const outcome = field("outcome").value, least = Number(field("face").value);
    const large = !least || Number(card.dataset.face) >= least; // false for a clip without a face, which has no size
    return (outcome === "all" || outcome === "kept") && large && matches(card);
  };
  const rejectedMatches = (card) => {
    const outcome = field("outcome").value;
    return (outcome === "all" || outcome === "-" + card.dataset.reason) && matches(card);
  };
  const show = (cards, matching) => cards.filter((card) => !(card.hidden = !matching(card))).length;

  const apply = () => {
    field("face-shown").value = field("face").value + " px";
    const shown = [show(kept, keptMatches), show(rejected, rejectedMatches)];
    for (const block of reasons) block.hidden = !block.querySelector(".case:not([hidden])");
    field("shown").textContent = `${count(shown[0], "of")} ${count(kept.length, "kept")} and ` +
      `${count(shown[1], "of")} ${count(rejected.length, "rejected clips are shown")}`;
    document.body.classList.toggle("plain", field("drawn")?.checked === false);
  };

  // A link to a reason must work even if the filters hide it.
  for (const link of all('a[href^="#reason-"]')) link.addEventListener("click", () => {
    field("filters").reset();
    apply();
  });

  for (const video of all(".sample video")) {
    const now = video.parentElement.querySelector(".wave .now"), wave = now?.ownerSVGElement.viewBox.baseVal;
    if (now) video.addEventListener("timeupdate", () => {
      const x = video.currentTime / now.dataset.seconds * wave.width;
      now.setAttribute("x1", x);
      now.setAttribute("x2", x);
    });
  }

  const dark = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const label = () => { field("theme").textContent = isDark() ? "Light theme" : "Dark theme"; };
  field("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);

  field("filters").addEventListener("input", apply);
  field("filters").addEventListener("submit", (event) => event.preventDefault());
  field("filters").hidden = field("theme").hidden = false;
  label();
  apply();
})();
