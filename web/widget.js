// An element of our own at the end of a node.

/** The class of an element that takes no room for a while. */
export const AWAY = "lightfusion-away";

/**
 * The node's element of this name, made when it is first asked for.
 *
 * It stands after the node's own widgets and is left out of the file and of the prompt: shared workflows hold
 * widget values by their order. `height` is its least height, which it keeps unless it `grows` with the node.
 */
export function elementOf(node, name, make, { height, grows = true, hideOnZoom = true }) {
  const known = node.widgets?.find((widget) => widget.name === name);
  if (known) return known.element;
  const element = make();
  const widget = node.addDOMWidget(name, name, element, {
    serialize: false,
    hideOnZoom,
    getMinHeight: () => (element.classList.contains(AWAY) ? 0 : height),
    getMaxHeight: () => (element.classList.contains(AWAY) ? 0 : grows ? undefined : height),
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false;
  const [least, needed] = node.computeSize();
  node.setSize([Math.max(node.size[0], least), Math.max(node.size[1], needed)]);
  return element;
}
