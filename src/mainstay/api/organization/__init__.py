"""OpenAI's `/v1/organization`: its shapes over the tables of administration, for tools that speak them."""
