// Light or dark: the system's setting, until somebody switches it. Runs before anything is drawn.

{
  const NAME = "sam_mlx theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;

  const apply = () => {
    root.dataset.theme = localStorage.getItem(NAME) ?? (system.matches ? "dark" : "light");
  };

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").onclick = () => {
      localStorage.setItem(NAME, root.dataset.theme === "dark" ? "light" : "dark");
      apply();
    };
  });
}
