// The server's API: one method per request; errors are sentences.

export class ApiError extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

const GONE = "The server does not respond: is sam-mlx web still running?";

async function request(method, path, body, signal) {
  const options = { method, signal };
  if (body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, GONE);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new ApiError(answer.status, sentence(said.error ?? `The server answered with status ${answer.status}`));
}

/** Send a file. sent(share) is called as it goes, which fetch cannot tell. */
function upload(path, file, sent) {
  return new Promise((done, fail) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", path);
    sending.responseType = "json";
    sending.upload.onprogress = ({ loaded, total }) => sent(total ? loaded / total : 0);
    sending.onerror = () => fail(new ApiError(0, GONE));
    sending.onload = () => {
      const { status, response } = sending;
      if (status < 300) done(response);
      else fail(new ApiError(status, sentence(response?.error ?? `The server answered with status ${status}`)));
    };
    sending.send(file);
  });
}

const json = async (...parts) => (await request(...parts)).json();

/** An answer's JSON, with its trouble: why the server cannot write its newest changes to disk. */
async function kept(...parts) {
  const answer = await request(...parts);
  const said = answer.headers.get("X-Not-Kept");
  return { ...(await answer.json()), trouble: said && sentence(decodeURIComponent(said)) };
}
const sentence = (text) => text[0].toUpperCase() + text.slice(1);

/** Names of files may hold what is not text. */
const query = (values) => new URLSearchParams(Object.entries(values).map(([key, text]) => [key, text.toWellFormed?.() ?? text]));

/** One session's requests. */
export class Api {
  constructor(welcome) {
    this.session = welcome.session;
    this.root = `/api/sessions/${welcome.session}`;
  }

  static create = () => json("POST", "/api/sessions");
  static open = (file) => json("POST", "/api/sessions/file", file);
  static earlier = async () => (await json("GET", "/api/sessions")).sessions;
  static resume = (session) => json("POST", `/api/sessions/${session}/resume`, {});
  static forget = (session) => request("DELETE", `/api/sessions/${session}`);

  show = () => json("GET", this.root);
  importFile = (file) => json("POST", `${this.root}/import?${query({ name: file.name })}`, file);
  setClasses = (classes, since) => json("PUT", `${this.root}/classes`, { classes, since });
  changePicture = (id, body) => json("PUT", this.pictureUrl(id), body);
  addPicture = (file, name, folder, sent) => upload(`${this.root}/pictures?${query({ name, folder })}`, file, sent);
  removePicture = (id) => request("DELETE", this.pictureUrl(id));
  restorePicture = (id) => json("POST", `${this.pictureUrl(id)}/restore`, {});
  changes = (since) => kept("GET", `${this.root}/changes?since=${since}`);
  leave = () => navigator.sendBeacon(`${this.root}/leave`);
  picture = (id) => json("GET", this.pictureUrl(id));
  encode = (id) => json("POST", `${this.pictureUrl(id)}/encode`, {});
  predict = (id, body) => json("POST", `${this.pictureUrl(id)}/predict`, body);

  saveObjects = (id, body) => kept("PUT", `${this.pictureUrl(id)}/objects`, body);

  startAutomatic = (id, options) => json("POST", `${this.pictureUrl(id)}/automatic`, options);
  automatic = (id) => json("GET", `${this.pictureUrl(id)}/automatic`);
  stopAutomatic = (id) => request("DELETE", `${this.pictureUrl(id)}/automatic`);
  selectAutomatic = (id, thresholds) => json("POST", `${this.pictureUrl(id)}/automatic/select`, thresholds);

  python = async (id, object) =>
    (await request("GET", `${this.pictureUrl(id)}/python?object=${object}`)).text();
  file = (path) => request("GET", this.root + path);

  pictureUrl = (id) => `${this.root}/pictures/${id}`;
  imageUrl = (id) => `${this.pictureUrl(id)}/image`;
  tileUrl = (id, level, column, row) => `${this.pictureUrl(id)}/tiles/${level}/${column}/${row}`;
  thumbnailUrl = (id) => `${this.pictureUrl(id)}/thumbnail`;
}
