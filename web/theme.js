// Dark or light: as the system has it, until somebody chooses.

const KEY = "orlop-theme";

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    // Storage is closed in some private windows.
    return null;
  }
}

/** Follow the system and the button; `changed` is called after each change. */
export function makeTheme(button, changed) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = remembered();

  function apply() {
    const theme = chosen || (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    changed();
  }

  function toggle() {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // It lasts as long as the page then.
    }
    apply();
  }

  dark.addEventListener("change", apply);
  button.addEventListener("click", toggle);
  apply();
  return { toggle };
}
