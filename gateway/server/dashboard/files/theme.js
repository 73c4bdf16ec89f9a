// Before anything is drawn: the theme that was chosen here, else the system's.
"use strict";
(() => {
  const chosen = localStorage.getItem("tiergate-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
