// Two views of PLAYBACK_ID by mux-embed alone, without a browser; the second fails.
globalThis.window = globalThis;
globalThis.document = { cookie: '', visibilityState: 'visible', addEventListener() {}, querySelector: () => null };
globalThis.addEventListener = globalThis.removeEventListener = () => {};

const assert = require('node:assert');
const { setTimeout: wait } = require('node:timers/promises');
const mux = require('mux-embed').default;

const { COLLECTOR, PLAYBACK_ID } = process.env;
let position = 0;
let isPaused = true;
let url = `http://${COLLECTOR}/${PLAYBACK_ID}.m3u8`;

async function play(milliseconds) {
  const began = Date.now();
  const from = position;
  while (Date.now() - began < milliseconds) {
    await wait(25);
    position = from + Date.now() - began;
    mux.emit('player', 'timeupdate', { player_playhead_time: position });
  }
}

async function main() {
  const sent = [];
  const send = globalThis.fetch;
  globalThis.fetch = async (...request) => {
    const response = await send(...request);
    sent.push(response.status);
    return response;
  };
  mux.init('player', {
    beaconCollectionDomain: COLLECTOR,
    data: { player_name: 'node', video_title: 'First', viewer_user_id: 'node-viewer', video_cdn: 'fastly', custom_2: 'two' },
    getPlayheadTime: () => position,
    getStateData: () => ({
      player_is_paused: isPaused, player_width: 640, player_height: 360, video_source_duration: 60000,
      video_source_width: 640, video_source_height: 360, video_source_url: url,
    }),
  });
  mux.emit('player', 'playerready');
  isPaused = false;
  mux.emit('player', 'play');
  await wait(200);
  mux.emit('player', 'playing');
  await play(700);
  mux.emit('player', 'seeking');
  position = 30000;
  await wait(100);
  mux.emit('player', 'seeked');
  await play(500);
  url = `http://${COLLECTOR}/${PLAYBACK_ID}/high.mp4`;
  position = 0;
  mux.emit('player', 'videochange', { video_title: 'Second' });
  mux.emit('player', 'play');
  mux.emit('player', 'error', { player_error_code: 2, player_error_message: 'No network' });
  mux.emit('player', 'destroy');
  await wait(500);
  assert.ok(sent.length > 0 && sent.every((status) => status === 200), sent);
  process.exit(0);
}

main();
