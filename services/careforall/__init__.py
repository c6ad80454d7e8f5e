"""CareForAll: donations and a shop on which no gift, order or cent is lost, doubled or oversold."""
