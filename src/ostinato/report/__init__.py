"""What a person wants to see of a model, in one page that needs no network, and as figures for print."""
