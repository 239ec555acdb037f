// The official Node client's signer. Run by tests/signing/test_official_node.py with MUX_SIGNING_KEY and MUX_PRIVATE_KEY, which the client
// reads by itself, the moment in NOW (Unix seconds), calls in CALLS ([method, id, options]) and tokens in CHECK. Prints JSON: what the calls
// returned (or {error}), and the claims of the tokens after their signature was checked with PUBLIC_KEY.
'use strict';
const crypto = require('node:crypto');
const Mux = require('@mux/mux-node').default;

Date.now = () => Number(process.env.NOW) * 1000;
const mux = new Mux({ tokenId: 'none', tokenSecret: 'none' });

function claims(token) {
  const [header, payload, signature] = token.split('.');
  const good = crypto.verify(
    'RSA-SHA256', Buffer.from(`${header}.${payload}`), process.env.PUBLIC_KEY, Buffer.from(signature, 'base64url'));
  return good ? JSON.parse(Buffer.from(payload, 'base64url')) : { error: 'signature' };
}

async function main() {
  const made = [];
  for (const [method, id, options] of JSON.parse(process.env.CALLS)) {
    made.push(await mux.jwt[method](id, options).catch((error) => ({ error: error.message })));
  }
  console.log(JSON.stringify({ made, checked: JSON.parse(process.env.CHECK).map(claims) }));
}

main();
