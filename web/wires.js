// Wires that find their inputs in a node out of the library of blueprints. A file tells the place of a wire's input, and
// an input that its node has gained since moves those behind it; a host sets that right in a whole file alone.

/** Let a new node tell the wires that come with it where their inputs are. */
export function prepare(node) {
  const onConfigure = node.onConfigure;
  node.onConfigure = function () {
    for (const [place, input] of (this.inputs ?? []).entries()) {
      const link = input.link != null && this.graph?.getLink?.(input.link);
      if (link) link.target_slot = place;
    }
    onConfigure?.apply(this, arguments);
  };
}
