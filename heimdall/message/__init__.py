"""DNS messages as bytes and values; knows neither Twisted nor Redis."""
