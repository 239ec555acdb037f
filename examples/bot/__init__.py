"""A Discord bot for a Mux account: `/live` starts a live stream, and the channel is told what can be watched."""
