// Verifies deliveries with the official client: JSON lines of {body, header, secret} in, "ok <event type>" or "no" out.
const Mux = require('@mux/mux-node').default ?? require('@mux/mux-node');

const mux = new Mux({ tokenId: 'a', tokenSecret: 'b' });

(async () => {
  for (const line of require('node:fs').readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
    const { body, header, secret } = JSON.parse(line);
    try {
      const event = await mux.webhooks.unwrap(body, { 'mux-signature': header }, secret);
      console.log(`ok ${event.type}`);
    } catch (error) {
      console.log('no');
    }
  }
})();
