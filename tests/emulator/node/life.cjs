// The official Node client as its users have it. Run by tests/emulator/test_official_node.py with the name of a part in PART, and
// MUX_BASE_URL and the rest in the environment, which the client reads by itself. Prints "done" at the end; anything thrown is a failure.
'use strict';
const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const http = require('node:http');
const Mux = require('@mux/mux-node').default;

const mux = new Mux();
const FILM = 'https://example.com/film.mp4';

async function eventually(look, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < end, `nothing to be seen: ${look}`);
    await new Promise((resume) => setTimeout(resume, 20));
  }
}

const readyAsset = (id) =>
  eventually(async () => {
    const asset = await mux.video.assets.retrieve(id);
    return asset.status === 'ready' && asset;
  });

async function control(path, body = {}) {
  const answer = await fetch(`${mux.baseURL}/_emulator/${path}`, { method: 'POST', body: JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.text()}`);
}

async function all(page) {
  const found = [];
  for await (const entry of page) found.push(entry);
  return found;
}

const parts = {
  async assets() {
    const { assets } = mux.video;
    const made = await assets.create({
      inputs: [{ url: FILM }],
      playback_policies: ['public', 'signed'],
      static_renditions: [{ resolution: 'highest' }],
      meta: { title: 'A film' },
    });
    assert.equal(made.status, 'preparing');
    const asset = await readyAsset(made.id);
    assert.equal(asset.meta.title, 'A film');
    assert.ok(asset.duration > 0);
    assert.deepEqual(asset.tracks.map((track) => track.type).sort(), ['audio', 'video']);
    assert.equal((await assets.retrieveInputInfo(asset.id))[0].settings.url, FILM);
    assert.equal((await assets.update(asset.id, { passthrough: 'mine', thumbnail_time: 2 })).passthrough, 'mine');
    await assets.deleteThumbnailTime(asset.id);

    const extra = await assets.createPlaybackId(asset.id, { policy: 'public' });
    assert.equal((await assets.retrievePlaybackId(asset.id, extra.id)).policy, 'public');
    assert.equal((await mux.video.playbackIds.retrieve(extra.id)).object.id, asset.id);
    await assets.deletePlaybackId(asset.id, extra.id);

    const track = await assets.createTrack(asset.id, {
      url: 'https://example.com/en.vtt', type: 'text', text_type: 'subtitles', language_code: 'en',
    });
    assert.equal((await assets.updateTrack(asset.id, track.id, { name: 'English' })).name, 'English');
    const audio = asset.tracks.find((entry) => entry.type === 'audio');
    const generated = await assets.generateSubtitles(asset.id, audio.id, {
      generated_subtitles: [{ language_code: 'en', name: 'made' }],
    });
    await eventually(async () => {
      const found = (await assets.retrieve(asset.id)).tracks.find((entry) => entry.id === generated[0].id);
      return found.status === 'ready';
    });

    const id = asset.playback_ids.find((entry) => entry.policy === 'public').id;
    const { playback } = mux.video;
    assert.match(await (await playback.hls(id)).text(), /^#EXTM3U/);
    assert.equal((await playback.thumbnail(id, 'png', { width: 64 })).headers.get('content-type'), 'image/png');
    assert.equal((await playback.animated(id, 'gif')).status, 200);
    assert.equal((await playback.storyboard(id, 'jpg')).status, 200);
    assert.match(await playback.storyboardVtt(id), /^WEBVTT/);
    assert.ok(await playback.storyboardMeta(id));
    assert.match(await playback.track(id, generated[0].id), /^WEBVTT/);
    assert.ok(await playback.transcript(id, generated[0].id));
    await eventually(async () => {
      const files = (await assets.retrieve(asset.id)).static_renditions.files;
      return files[0].name === 'highest.mp4' && files[0].status === 'ready';
    });

    await assets.deleteTrack(asset.id, track.id);
    const sound = await assets.createStaticRendition(asset.id, { resolution: 'audio-only' });
    await assets.deleteStaticRendition(asset.id, sound.id);
    await assets.updateMasterAccess(asset.id, { master_access: 'temporary' });
    await eventually(async () => (await assets.retrieve(asset.id)).master.url);
    await assets.generateShots(asset.id, {});
    await eventually(async () => (await assets.retrieveShots(asset.id)).status === 'completed');
    await assets.deleteShots(asset.id);

    const more = [];
    for (let index = 0; index < 5; index += 1) more.push((await assets.create({ inputs: [{ url: FILM }] })).id);
    const listed = (await all(assets.list({ limit: 2 }))).map((entry) => entry.id);
    assert.deepEqual(listed.slice(0, 6), [...more.reverse(), asset.id]);

    await assets.delete(asset.id);
    await assert.rejects(assets.retrieve(asset.id), Mux.NotFoundError);
    await assert.rejects(assets.retrieve('nonsense'), Mux.BadRequestError);
    await assert.rejects(new Mux({ tokenSecret: 'wrong' }).video.assets.list(), Mux.AuthenticationError);
  },

  async uploads() {
    const { uploads } = mux.video;
    const upload = await uploads.create({ cors_origin: '*', new_asset_settings: { playback_policies: ['public'] } });
    const film = crypto.randomBytes(700_000);
    assert.equal((await fetch(upload.url, { method: 'PUT', body: film })).status, 200);
    const done = await eventually(async () => {
      const found = await uploads.retrieve(upload.id);
      return found.status === 'asset_created' && found;
    });
    assert.equal((await readyAsset(done.asset_id)).upload_id, upload.id);
    const other = await uploads.create({ cors_origin: '*' });
    assert.equal((await uploads.cancel(other.id)).status, 'cancelled');
    assert.equal((await all(uploads.list({ limit: 1 }))).length, 2);
  },

  async liveStreams() {
    const { liveStreams } = mux.video;
    const stream = await liveStreams.create({
      playback_policies: ['public'], new_asset_settings: { playback_policies: ['public'] },
    });
    const target = await liveStreams.createSimulcastTarget(stream.id, { url: 'rtmp://example.com/app', stream_key: 'key' });
    assert.equal((await liveStreams.retrieveSimulcastTarget(stream.id, target.id)).status, 'idle');
    await liveStreams.updateEmbeddedSubtitles(stream.id, {
      embedded_subtitles: [{ language_channel: 'cc1', language_code: 'en' }],
    });
    await liveStreams.updateGeneratedSubtitles(stream.id, { generated_subtitles: [{ language_code: 'en', name: 'English' }] });
    await liveStreams.updateNewAssetSettingsStaticRenditions(stream.id, { static_renditions: [{ resolution: 'highest' }] });
    await liveStreams.deleteNewAssetSettingsStaticRenditions(stream.id);
    const playback = await liveStreams.createPlaybackId(stream.id, { policy: 'public' });
    assert.equal((await liveStreams.retrievePlaybackId(stream.id, playback.id)).id, playback.id);
    await liveStreams.deletePlaybackId(stream.id, playback.id);

    await control(`live-streams/${stream.stream_key}/connect`);
    const active = await eventually(async () => {
      const found = await liveStreams.retrieve(stream.id);
      return found.status === 'active' && found;
    });
    assert.match(await (await mux.video.playback.hls(stream.playback_ids[0].id)).text(), /^#EXTM3U/);
    await liveStreams.complete(stream.id);
    const idle = await eventually(async () => {
      const found = await liveStreams.retrieve(stream.id);
      return found.status === 'idle' && found;
    });
    assert.deepEqual(idle.recent_asset_ids, [active.active_asset_id]);
    await control(`live-streams/${stream.id}/disconnect`);
    await liveStreams.disable(stream.id);
    assert.equal((await liveStreams.retrieve(stream.id)).status, 'disabled');
    await liveStreams.enable(stream.id);
    assert.notEqual((await liveStreams.resetStreamKey(stream.id)).stream_key, stream.stream_key);
    assert.equal((await liveStreams.update(stream.id, { passthrough: 'mine' })).passthrough, 'mine');
    await liveStreams.deleteSimulcastTarget(stream.id, target.id);
    assert.equal((await all(liveStreams.list({ status: 'idle' }))).length, 1);
    await liveStreams.delete(stream.id);
  },

  async keys() {
    const key = await mux.system.signingKeys.create();
    const asset = await mux.video.assets.create({ inputs: [{ url: FILM }], playback_policies: ['signed'] });
    const id = (await readyAsset(asset.id)).playback_ids[0].id;
    const signer = new Mux({ jwtSigningKey: key.id, jwtPrivateKey: key.private_key });
    const ask = async (token) => (await fetch(`${mux.baseURL}/${id}.m3u8${token ? `?token=${token}` : ''}`)).status;
    assert.equal(await ask(await signer.jwt.signPlaybackId(id)), 200);
    assert.equal(await ask(await signer.jwt.signPlaybackId(id, { type: 'thumbnail' })), 403);
    assert.equal(await ask(null), 403);
    assert.equal((await mux.system.signingKeys.retrieve(key.id)).private_key, undefined);
    assert.equal((await all(mux.system.signingKeys.list())).length, 1);
    await mux.system.signingKeys.delete(key.id);
    await assert.rejects(mux.system.signingKeys.retrieve(key.id), /Signing Key not found/);
    assert.equal(await ask(await signer.jwt.signPlaybackId(id)), 403);
  },

  async around() {
    const { playbackRestrictions, transcriptionVocabularies, drmConfigurations, deliveryUsage } = mux.video;
    const made = await playbackRestrictions.create({
      referrer: { allowed_domains: ['*.example.com'], allow_no_referrer: true },
      user_agent: { allow_no_user_agent: true, allow_high_risk_user_agent: false },
    });
    const changed = await playbackRestrictions.updateReferrer(made.id, { allowed_domains: ['*'], allow_no_referrer: false });
    assert.deepEqual(changed.referrer.allowed_domains, ['*']);
    await playbackRestrictions.updateUserAgent(made.id, { allow_no_user_agent: false, allow_high_risk_user_agent: false });
    assert.equal((await playbackRestrictions.retrieve(made.id)).user_agent.allow_no_user_agent, false);
    assert.equal((await all(playbackRestrictions.list())).length, 1);
    await playbackRestrictions.delete(made.id);
    const words = await transcriptionVocabularies.create({ name: 'words', phrases: ['Mux'] });
    assert.deepEqual((await transcriptionVocabularies.update(words.id, { phrases: ['a', 'b'] })).phrases, ['a', 'b']);
    assert.equal((await all(transcriptionVocabularies.list()))[0].id, (await transcriptionVocabularies.retrieve(words.id)).id);
    await transcriptionVocabularies.delete(words.id);
    const [configuration] = await all(drmConfigurations.list());
    assert.equal((await drmConfigurations.retrieve(configuration.id)).id, configuration.id);
    assert.ok(Array.isArray((await deliveryUsage.list()).data));
    const who = await mux.system.utilities.whoami();
    assert.ok(who.permissions.includes('video:write'));
    assert.ok(Array.isArray((await mux.system.usageExports.list()).data));
  },

  async webhooks() {
    const received = [];
    let secret = '';
    const server = http.createServer((request, response) => {
      const pieces = [];
      request.on('data', (piece) => pieces.push(piece));
      request.on('end', async () => {
        const body = Buffer.concat(pieces).toString();
        try {
          received.push(await mux.webhooks.unwrap(body, request.headers, secret));
          await mux.webhooks.verifySignature(body, request.headers, secret);
          await assert.rejects(mux.webhooks.verifySignature(`${body} `, request.headers, secret));
          response.writeHead(204).end();
        } catch (error) {
          received.push({ type: `broken: ${error}` });
          response.writeHead(400).end();
        }
      });
    });
    await new Promise((resume) => server.listen(0, '127.0.0.1', resume));
    const address = `http://127.0.0.1:${server.address().port}/hooks`;
    const { webhooks } = mux.system;
    const hook = await webhooks.create({ address });
    secret = hook.signing_secret;
    const asset = await mux.video.assets.create({ inputs: [{ url: FILM }], playback_policies: ['public'] });
    await readyAsset(asset.id);
    await mux.video.assets.delete(asset.id);
    const wanted = ['video.asset.created', 'video.asset.ready', 'video.asset.deleted'];
    await eventually(() => received.length >= wanted.length);
    assert.deepEqual(received.map((event) => event.type), wanted);
    assert.equal(received[1].data.id, asset.id);
    assert.equal(received[1].object.type, 'asset');
    assert.equal(received[1].data.status, 'ready');
    assert.equal((await webhooks.retrieve(hook.id)).signing_secret, undefined);
    assert.equal((await webhooks.update(hook.id, { enabled: false })).enabled, false);
    assert.equal((await all(webhooks.list())).length, 1);
    await webhooks.delete(hook.id);
    server.close();
    server.closeAllConnections();
  },

  async data() {
    const { data } = mux;
    const timeframe = ['7:days'];
    const views = await data.videoViews.list({ limit: 5, timeframe });
    assert.equal(views.data.length, 5);
    assert.ok((await data.videoViews.retrieve(views.data[0].id)).data.events.length > 0);
    const overall = await data.metrics.getOverallValues('video_startup_time', { timeframe, filters: ['country:US'] });
    assert.ok(overall.data.total_views > 0);
    let counted = 0;
    for await (const row of data.metrics.listBreakdownValues('views', { group_by: 'country', timeframe })) counted += Number(row.views);
    assert.equal(counted, Number((await data.metrics.getOverallValues('views', { timeframe })).data.total_views));
    assert.ok((await data.metrics.getTimeseries('views', { timeframe, group_by: 'day' })).data.length >= 7);
    assert.equal((await data.metrics.list({ dimension: 'country', value: 'US' })).data[0].name, 'totals');
    assert.ok((await data.metrics.getInsights('viewer_experience_score')).data);
    assert.ok((await data.dimensions.list()).data.basic.includes('country'));
    assert.ok((await all(data.dimensions.listValues('country'))).length > 1);
    assert.ok(await all(data.dimensions.listTraceElements('video_cdn_trace')));
    assert.ok((await data.errors.list({ timeframe })).data.length > 0);
    const [incident] = (await data.incidents.list()).data;
    assert.equal((await data.incidents.retrieve(incident.id)).data.id, incident.id);
    assert.ok((await data.incidents.listRelated(incident.id)).data);
    assert.ok((await data.exports.listVideoViews()).data[0].files.length > 0);

    const metric = 'current-concurrent-viewers';
    const startup = 'video-startup-time';
    const dimension = 'country';
    assert.ok((await data.monitoring.listDimensions()).data.length > 0);
    assert.ok((await data.monitoring.metrics.list()).data.length > 0);
    assert.ok((await data.monitoring.metrics.getBreakdown(metric, { dimension })).data);
    assert.ok((await data.monitoring.metrics.getTimeseries(metric)).data.length > 0);
    assert.ok((await data.monitoring.metrics.getBreakdownTimeseries(metric, { dimension })).data);
    assert.ok((await data.monitoring.metrics.getHistogramTimeseries(startup)).data.length > 0);
    assert.ok((await data.realTime.listDimensions()).data.length > 0);
    assert.ok((await data.realTime.listMetrics()).data.length > 0);
    assert.ok((await data.realTime.retrieveBreakdown(metric, { dimension })).data);
    assert.ok((await data.realTime.retrieveTimeseries(metric)).data.length > 0);
    assert.ok((await data.realTime.retrieveHistogramTimeseries(startup)).data.length > 0);

    const asset = await mux.video.assets.create({ inputs: [{ url: FILM }], playback_policies: ['public'] });
    const [video] = (await data.dimensions.listValues('video_id')).data;
    for (const [group, id] of [['assets', asset.id], ['playbackIds', asset.playback_ids[0].id], ['videos', video.value]]) {
      assert.ok((await data.engagement[group].heatmap(id)).data);
      assert.ok((await data.engagement[group].hotspots(id)).data);
    }

    const subview = data.subviewMetrics;
    assert.ok((await subview.getOverallValues('playing_time', 'rendition', { timeframe })).data);
    assert.ok((await subview.listBreakdownValues('playing_time', 'rendition', { timeframe })).data);
    assert.ok(await subview.listComparisonValues('playing_time', 'rendition', { dimension, values: ['US', 'DE'], timeframe }));
    assert.ok((await subview.getBreakdownTimeseries('playing_time', 'rendition', { timeframe })).data);
    assert.ok((await subview.listDimensions('rendition')).data);
    assert.ok((await subview.listDimensionValues('rendition', 'country', { timeframe })).data);

    const now = Math.floor(Date.now() / 1000);
    const note = await data.annotations.create({ date: now - 60, note: 'a release' });
    assert.equal((await data.annotations.update(note.id, { date: now - 60, note: 'another' })).note, 'another');
    assert.equal((await data.annotations.retrieve(note.id)).id, (await data.annotations.list()).data[0].id);
    await data.annotations.delete(note.id);
  },
};

parts[process.env.PART]().then(() => console.log('done'));
