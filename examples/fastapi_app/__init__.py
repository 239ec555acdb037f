"""A web application: films go from the browser to Mux, and can be watched by those to whom it gives a link."""
