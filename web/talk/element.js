// Elements of the page, made in one expression.

/**
 * An element with properties, attributes (what has a dash, and `role`), listeners (functions) and children.
 *
 * Text becomes text, never markup. Children that are null are left out.
 */
export function element(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A button that shows one of the editor's icons, with its text for screen readers and as a hint. */
export function iconButton(icon, text, click) {
  return element("button", { type: "button", className: `pi pi-${icon}`, title: text, "aria-label": text, click });
}
