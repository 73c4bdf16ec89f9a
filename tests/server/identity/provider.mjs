// An identity provider: npm's oidc-provider with one client. Anybody signs in by an account's name.
// node provider.mjs PORT REDIRECT_URI PATH_OF_THE_LIBRARY
const [port, redirect, library] = process.argv.slice(2);
const { Provider } = await import(library);
const groups = { ann: ["staff"], oli: ["staff", "oncall"], ada: ["platform"], tim: ["staff", "search-team"], eve: ["strangers"] };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "tiergate", client_secret: "secret-of-the-gateway", redirect_uris: [redirect] }],
  claims: { openid: ["sub"], email: ["email"], groups: ["groups"] },
  conformIdTokenClaims: false,
  cookies: { keys: ["a key of the test"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, groups: groups[id] }),
  }),
  pkce: { required: () => true },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
