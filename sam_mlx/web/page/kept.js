// What of the session survives a reload of the window.

export const kept = {
  get welcome() {
    return JSON.parse(sessionStorage.getItem("session"));
  },
  set welcome(welcome) {
    sessionStorage.setItem("session", JSON.stringify(welcome));
    sessionStorage.removeItem("picture");
  },
  get picture() {
    return sessionStorage.getItem("picture");
  },
  set picture(id) {
    sessionStorage.setItem("picture", id);
  },
};
