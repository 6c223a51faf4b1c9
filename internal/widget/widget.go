// Package widget serves what runs in the browser of whoever gets the money:
// the form that turns a card or an account into a token, and the form that
// links a self-employed person. Both live in a frame of the widget's own
// origin, so that the partner's page reaches neither the number nor the DOM.
// The names are ours where the reference has none (wire reference, extensions
// §2.3 and §8).
package widget
