// Mux's MCP server, spoken to over its standard streams, as an assistant does.
import { spawn } from 'node:child_process';
import assert from 'node:assert/strict';
import readline from 'node:readline';

const server = spawn(process.execPath, ['node_modules/@mux/mcp/index.js', '--tools=all'], { stdio: ['pipe', 'pipe', 'inherit'] });
const waiting = new Map();
readline.createInterface({ input: server.stdout }).on('line', (line) => {
  const message = JSON.parse(line);
  waiting.get(message.id)?.(message);
});
let count = 0;
const send = (message) => server.stdin.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\n');
const ask = async (method, params) => {
  const id = ++count;
  const answered = new Promise((resolve) => waiting.set(id, resolve));
  send({ id, method, params });
  const message = await answered;
  assert.ok(message.result, JSON.stringify(message));
  return message.result;
};
const call = async (name, args) => {
  const result = await ask('tools/call', { name, arguments: args });
  assert.ok(!result.isError, JSON.stringify(result));
  return JSON.parse(result.content[0].text);
};

const clientInfo = { name: 'test', version: '1' };
const about = await ask('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo });
send({ method: 'notifications/initialized' });
const tools = (await ask('tools/list', {})).tools.map((tool) => tool.name);
const made = await call('create_video_assets', { inputs: [{ url: 'https://example.com/film.mp4' }], playback_policies: ['public'] });
const asset = made.data ?? made;
const read = await call('retrieve_video_assets', { ASSET_ID: asset.id });
assert.equal((read.data ?? read).id, asset.id);
const listed = await call('list_video_assets', {});
assert.deepEqual((listed.data ?? listed).map((one) => one.id), [asset.id]);
const stream = await call('create_video_live_streams', { playback_policies: ['public'] });
assert.equal((stream.data ?? stream).status, 'idle');
const views = await call('list_data_video_views', { timeframe: ['7:days'] });
assert.ok((views.data ?? views).length > 0);
console.log(JSON.stringify({ server: about.serverInfo, tools: tools.length }));
server.kill();
