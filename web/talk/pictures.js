// Pictures by the names that the host has for them, and how they get there.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

/** What was given is no picture that the browser can read. */
export class NoPictureError extends Error {}

/** Where the browser finds a picture: the file itself, with the graph in it. */
export function addressOf({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** The name by which LoadImage finds a picture. */
export function loadedName({ filename, subfolder, type }) {
  const path = subfolder ? `${subfolder}/${filename}` : filename;
  return type === "input" ? path : `${path} [${type}]`;
}

function byLoadedName(name) {
  const [, path, type = "input"] = name.match(/^(.*?)(?: \[(input|output|temp)\])?$/);
  const at = path.lastIndexOf("/");
  return { filename: path.slice(at + 1), subfolder: path.slice(0, Math.max(at, 0)), type };
}

/** Send a file to the host's input folder. Throws `NoPictureError` before it sends anything else. */
export async function upload(file) {
  try {
    (await createImageBitmap(file)).close();
  } catch (error) {
    if (error instanceof DOMException) throw new NoPictureError(file.name);
    throw error;
  }
  const body = new FormData();
  body.append("image", file, file.name);
  const answer = await api.fetchApi("/upload/image", { method: "POST", body });
  if (!answer.ok) throw new NoPictureError(file.name);
  const { name, subfolder, type } = await answer.json();
  return { filename: name, subfolder, type };
}

/** The pictures of something dropped or pasted: files, or a picture that the editor itself shows. */
export async function picturesOf(transfer) {
  if (transfer.files.length) return Promise.all([...transfer.files].map(upload));
  const address = transfer.getData("text/uri-list").split(/\r?\n/)[0];
  const url = address ? new URL(address, location.href) : null;
  const filename = url?.origin === location.origin && url.pathname.endsWith("/view") && url.searchParams.get("filename");
  if (!filename) throw new NoPictureError(address || transfer.getData("text/plain"));
  const { subfolder = "", type = "output" } = Object.fromEntries(url.searchParams);
  return [{ filename, subfolder, type }];
}

/** Whether something that is dragged or pasted may be a picture. */
export function maybePictures(transfer) {
  return transfer.files.length > 0 || ["Files", "text/uri-list"].some((kind) => transfer.types.includes(kind));
}

/** What the nodes show that are selected on the canvas. */
export function selectedPictures() {
  return Object.values(app.canvas.selected_nodes ?? {}).flatMap((node) => {
    const made = app.nodeOutputs[node.id]?.images;
    if (made?.length) return made.map(({ filename, subfolder, type }) => ({ filename, subfolder: subfolder ?? "", type }));
    const name = node.widgets?.find((widget) => widget.name === "image")?.value;
    return typeof name === "string" && name ? [byLoadedName(name)] : [];
  });
}
