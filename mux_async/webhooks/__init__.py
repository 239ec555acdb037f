"""Webhooks: events as typed values (`mux_async.webhooks.events`)."""
