// Rows that few need, folded away. Nodes that are made of elements fold them by themselves; the canvas does not.

const BUTTON = "lightfusion_advanced";
const USUAL = new WeakMap(); // the values that a node begins with
const NO_ROOM = () => [0, -4]; // the canvas adds a gap of 4 to every row

function rowsOf(node) {
  return node.widgets?.filter((widget) => widget.options?.advanced) ?? [];
}

function isLinked(node, widget) {
  return node.inputs?.some((input) => input.widget?.name === widget.name && input.link != null);
}

// What a node has to spare of its height stays what it is.
function keepingRoom(node, change) {
  const before = node.computeSize()[1];
  change();
  const after = node.computeSize()[1];
  node.setSize([node.size[0], Math.max(after, node.size[1] + after - before)]);
  node.setDirtyCanvas(true, true);
}

function giveRoom(row) {
  if (row.hidden) row.computeSize = NO_ROOM;
  else delete row.computeSize;
}

/** Hide or show a node's rows as `node.showAdvanced` says; on the canvas a row that something is wired into stays. */
export function arrange(node) {
  const button = node.widgets?.find((widget) => widget.name === BUTTON);
  if (!button) return;
  const onCanvas = !LiteGraph.vueNodesMode;
  for (const row of rowsOf(node)) {
    // the canvas keeps room for what is advanced, elsewhere the least height of a node counts it
    row.advanced = !onCanvas;
    row.hidden = onCanvas && !node.showAdvanced && !isLinked(node, row);
    if (!node.getLayoutWidgets) giveRoom(row); // a canvas without this method keeps room for hidden rows
  }
  button.label = node.showAdvanced ? "▾ advanced" : "▸ advanced";
}

/** Show the rows of a node where one has another value than a new node's, or is wired. */
export function openIfUsed(node) {
  const usual = USUAL.get(node);
  if (!usual) return;
  if (rowsOf(node).some((row) => row.value !== usual.get(row.name) || isLinked(node, row))) node.showAdvanced = true;
  arrange(node);
}

/** Fold a new node's rows. */
export function prepare(node) {
  const rows = rowsOf(node);
  if (!rows.length) return;
  USUAL.set(node, new Map(rows.map((row) => [row.name, row.value])));
  const toggle = () =>
    keepingRoom(node, () => {
      node.showAdvanced = !node.showAdvanced;
      arrange(node);
    });
  keepingRoom(node, () => {
    const button = node.addWidget("button", BUTTON, null, toggle, { serialize: false, canvasOnly: true });
    button.serialize = false;
    arrange(node);
  });

  for (const change of ["onConfigure", "onConnectionsChange"]) {
    const before = node[change];
    node[change] = function () {
      before?.apply(this, arguments);
      openIfUsed(this);
    };
  }
}
