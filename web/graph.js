// Finding nodes by the names that the server and the frontend have for them.

/** The node that runs under an id such as "7", or "5:7" for node 7 inside of the subgraph of node 5. */
export function nodeOfExecution(root, id) {
  let graph = root;
  const path = String(id).split(":");
  for (const step of path.slice(0, -1)) graph = graph?.getNodeById(step)?.subgraph;
  return graph?.getNodeById(path.at(-1));
}

/** Every node with the key of its outputs: its id, inside of a subgraph with the subgraph's id before it. */
export function* allNodes(root) {
  for (const node of root?.nodes ?? []) yield [String(node.id), node];
  for (const [id, graph] of root?.subgraphs ?? []) {
    for (const node of graph.nodes) yield [`${id}:${node.id}`, node];
  }
}
