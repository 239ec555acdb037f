// Mux's sync engine: fills PostgreSQL from the API, and from signed webhooks. Prints the rows that it made.
// As a CommonJS module, because the other build of version 0.0.5 does not find its own migrations.
const http = require('node:http');
const { MuxSync, runMigrations } = require('@mux/sync-engine');
const Mux = require('@mux/mux-node').default;

const quiet = { info() {}, debug() {}, warn() {}, error: console.error };

async function main() {
  const databaseUrl = process.env.DATABASE_URL;
  const mux = new Mux();
  const asset = await mux.video.assets.create({ inputs: [{ url: 'https://example.com/film.mp4' }], playback_policies: ['public'] });
  const stream = await mux.video.liveStreams.create({ playback_policies: ['public'] });
  const upload = await mux.video.uploads.create({ cors_origin: '*' });

  await runMigrations({ databaseUrl, logger: quiet });
  const sync = new MuxSync({
    databaseUrl,
    muxTokenId: process.env.MUX_TOKEN_ID,
    muxTokenSecret: process.env.MUX_TOKEN_SECRET,
    muxWebhookSecret: process.env.HOOK_SECRET,
    backfillRelatedEntities: true,
    logger: quiet,
  });
  const filled = await sync.syncBackfill({ object: 'all' });

  let taken = 0;
  const problems = [];
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', async () => {
      try {
        await sync.processWebhook(body, request.headers);
        taken += 1;
      } catch (error) {
        problems.push(`${JSON.parse(body).type}: ${error.message}`);
      }
      response.writeHead(204).end();
    });
  });
  await new Promise((resolve) => server.listen(Number(process.env.HOOK_PORT), '127.0.0.1', resolve));
  await mux.video.assets.update(asset.id, { passthrough: 'changed' });
  const later = await mux.video.assets.create({ inputs: [{ url: 'https://example.com/other.mp4' }] });
  await mux.video.assets.delete(later.id);
  const end = Date.now() + 20_000;
  const rows = async (text, values) => (await sync.postgresClient.query(text, values)).rows;
  for (;;) {
    const [row] = await rows('select passthrough from mux.assets where id = $1', [asset.id]);
    const types = (await rows('select distinct type from mux.webhook_events')).map((one) => one.type);
    if (row?.passthrough === 'changed' && types.includes('video.asset.deleted')) break;
    if (Date.now() > end) throw new Error(`no webhook arrived: ${JSON.stringify({ row, types, taken, problems })}`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
  const counts = {};
  for (const table of ['assets', 'live_streams', 'uploads']) {
    counts[table] = (await rows(`select id from mux.${table}`)).map((one) => one.id);
  }
  server.close();
  await sync.postgresClient.pool.end();
  console.log(JSON.stringify({ filled, counts, taken, problems, made: [asset.id, stream.id, upload.id] }));
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
