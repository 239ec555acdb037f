// Mux's AI package: the part of it that needs no model of another service.
import { getHotspotsForAsset, getThumbnailUrls } from '@mux/ai/primitives';
import Mux from '@mux/mux-node';

const mux = new Mux();
let asset = await mux.video.assets.create({ inputs: [{ url: 'https://example.com/film.mp4' }], playback_policies: ['public'] });
while (asset.status !== 'ready') asset = await mux.video.assets.retrieve(asset.id);
const hotspots = await getHotspotsForAsset(asset.id);
const thumbnails = await getThumbnailUrls(asset.playback_ids[0].id, asset.duration, { interval: 10 });
console.log(JSON.stringify({ hotspots, thumbnails }));
