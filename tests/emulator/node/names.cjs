// A program of Node.js with Mux's host names and NODE_EXTRA_CA_CERTS. Run by tests/emulator/test_official_tls.py: a hosts file is stood in
// for by a lookup function, and the official client runs as it is, with the port that https has here. Prints "done" at the end.
'use strict';
const assert = require('node:assert/strict');
const dns = require('node:dns');
const https = require('node:https');

// What the hosts file does: these names are this machine.
const lookup = dns.lookup;
const own = /(^|\.)(mux\.com|litix\.io|video\.example\.com|example\.org)$/;
dns.lookup = (name, options, done) => {
  if (!own.test(name)) return lookup(name, options, done);
  const [settings, finish] = typeof options === 'function' ? [{}, options] : [options, done];
  return settings.all ? finish(null, [{ address: '127.0.0.1', family: 4 }]) : finish(null, '127.0.0.1', 4);
};
const port = process.env.TLS_PORT;
const Mux = require('@mux/mux-node').default;

const status = (host, path) =>
  new Promise((resolve, reject) => {
    https.get({ host, port, path }, (answer) => answer.resume().on('end', () => resolve(answer.statusCode))).on('error', reject);
  });

(async () => {
  const mux = new Mux({ baseURL: `https://api.mux.com:${port}` });
  const upload = await mux.video.uploads.create({ cors_origin: '*', new_asset_settings: { playback_policies: ['public'] } });
  assert.ok(upload.url.startsWith(`https://api.mux.com:${port}/_upload/`), upload.url);
  const sent = await fetch(upload.url, { method: 'PUT', body: 'not much of a film' });
  assert.equal(sent.status, 200);
  const asset = await mux.video.assets.retrieve((await mux.video.uploads.retrieve(upload.id)).asset_id);
  const id = asset.playback_ids[0].id;
  for (const host of ['stream.mux.com', 'stream.video.example.com', 'video.example.com']) {
    const found = await fetch(`https://${host}:${port}/${id}.m3u8`);
    assert.equal(found.status, 200, host);
    assert.ok((await found.text()).startsWith('#EXTM3U'));
    assert.equal(await status(host, `/${id}.m3u8`), 200);
  }
  assert.equal((await fetch(`https://image.mux.com:${port}/${id}/thumbnail.png`)).status, 200);
  assert.equal((await fetch(`https://stream.mux.com:${port}/video/v1/assets`)).status, 400);
  assert.equal((await fetch(`https://localhost:${port}/_emulator/health`)).status, 200);
  assert.equal((await fetch(`https://127.0.0.1:${port}/_emulator/health`)).status, 200);
  await assert.rejects(fetch(`https://example.org:${port}/`), (error) => error.cause.code === 'ERR_TLS_CERT_ALTNAME_INVALID');
  console.log('done');
})().catch((error) => {
  console.error(error, error.cause);
  process.exit(1);
});
