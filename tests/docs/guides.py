"""The pages whose snippets ``test_guides.py`` runs."""

GUIDES = (
    "configuration.md",
    "cookbook.md",
    "data-analysis.md",
    "errors.md",
    "from-mux-node.md",
    "from-mux-python.md",
    "from-raw-http.md",
    "getting-started.md",
    "models.md",
    "pagination.md",
    "serverless-and-sync.md",
    "tutorial-batch.md",
    "tutorial-bot.md",
    "tutorial-web-server.md",
)
