// The token of the node, as long as the page is shown: neither stored nor sent to anybody but the node.

let token = "";

/** The token that somebody has given; empty where nobody has. */
export const known = () => token;

/** Keep a token, or forget it. */
export function keep(given) {
  token = given;
}
