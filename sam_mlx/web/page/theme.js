// Light or dark: the system's setting, until somebody switches it.

const NAME = "sam_mlx theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const chosen = () => localStorage.getItem(NAME);

function apply() {
  document.documentElement.dataset.theme = chosen() ?? (system.matches ? "dark" : "light");
}

apply();
system.addEventListener("change", apply);
document.getElementById("theme").onclick = () => {
  const dark = document.documentElement.dataset.theme === "dark";
  localStorage.setItem(NAME, dark ? "light" : "dark");
  apply();
};
