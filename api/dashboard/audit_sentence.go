package dashboard

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// sayings are what the entries of Roster's own actions say. The words in braces
// are filled in; see [teller.fill].
var sayings = map[string]string{
	"team.created": "{who} created the {team} {name.after}",
	"team.renamed": "{who} renamed the {team} from {name.before} to {name.after}",
	"team.deleted": "{who} deleted the {team}",
	"plan.changed": "{who} changed the plan from {plan.before} to {plan.after}",

	"member.invited":       "{who} invited {whom} as {role.after}{places}",
	"invitation.resent":    "{who} sent {whom} a new invitation link",
	"invitation.cancelled": "{who} cancelled the invitation for {whom}",
	"invitation.declined":  "{whom} declined the invitation",
	"invitation.expired":   "The invitation for {whom} expired",

	"member.joined":       "{whom} joined as {role.after}{places}",
	"role.changed":        "{who} changed {whose} role from {role.before} to {role.after}",
	"permissions.changed": "{who} changed {whose} permissions{overrides}",
	"sites.changed":       "{who} changed {whose} {sites}{moves}",
	"member.removed":      "{who} removed {whom}{former}",
	"member.left":         "{whom} left{former}",

	"expiry.changed":      "{who} {ending} {whose} membership{until}",
	"member.expired":      "{whose} membership as {role.before} ended on its last day",
	"sites.expired":       "{whose} access ended on its last day{taken}",
	"permissions.expired": "Some of {whose} permissions ended on their last day{dropped}",

	"ownership.transfer_requested": "{who} asked {whom} to take over the ownership",
	"ownership.transfer_cancelled": "{who} cancelled the transfer of the ownership",
	"ownership.transferred":        "{whom} took over the ownership",

	"access_review.opened":  "{who} opened the access review {name.after}",
	"access_review.kept":    "{who} reviewed {whose} access and kept it",
	"access_review.removed": "{who} reviewed {whose} access and ended it",
	"access_review.closed":  "{who} closed the access review{name}{outcome}",

	"site.added":   "{who} added the {site} {name.after}",
	"site.renamed": "{who} renamed the {site} {name.before} to {name.after}",
	"site.removed": "{who} removed the {site} {name.before}",

	"role.defined": "{who} defined the role {name.after}",
	"role.edited":  "{who} changed what the role {name.after} means",
	"role.deleted": "{who} deleted the role {name.before}{replaced}",

	"api_key.created": "{who} created the API key {name.after} as {role.after}",
	"api_key.revoked": "{who} revoked the API key {name.before}",
	"webhook.created": "{who} added a webhook{name}",
	"webhook.changed": "{who} changed a webhook{name}",
	"webhook.deleted": "{who} deleted a webhook{name}",

	"two_factor.enabled":                "{who} turned on two-factor sign-in{for}",
	"two_factor.disabled":               "{who} turned off two-factor sign-in{for}",
	"two_factor.recovery_code_used":     "{who} used a recovery code; {left} left",
	"two_factor.recovery_codes_renewed": "{who} made new recovery codes",
	"two_factor_policy.changed":         "{who} {policy}",
	"passkey.added":                     "{who} added a passkey",
	"passkey.removed":                   "{who} removed a passkey",
	"passkey.refused":                   "A passkey was refused at a sign-in: it may have been copied",
	"session.started":                   "{who} signed in",
	"session.ended":                     "{who} signed out",
}

// word is a piece of a sentence.
type word struct {
	text string
	name bool // given by people: of them, or of what they made
	soft bool // of a role, which isn't what the sentence is about
}

// named is a word that people have chosen; softly one that isn't what the
// sentence is about.
func named(text string) word  { return word{text: text, name: true} }
func softly(text string) word { return word{text: text, name: true, soft: true} }

// long tells that a name is cut short in a list.
func (w word) long() bool { return utf8.RuneCountInString(w.text) > 40 }

// teller makes sentences of entries, in the words of a team.
type teller struct {
	roles  map[string]string // names by key
	sites  map[string]string // names by id
	labels struct{ team, site, sites string }
}

// tell says what an entry says.
func (t *teller) tell(e *logEntry) (sentence []word) {
	saying := sayings[e.Action]
	if saying == "" {
		return t.tellHost(e)
	}
	for saying != "" {
		plain, rest, found := strings.Cut(saying, "{")
		sentence = add(sentence, word{text: plain})
		if !found {
			break
		}
		var field string
		field, saying, _ = strings.Cut(rest, "}")
		sentence = add(sentence, t.fill(e, field)...)
	}
	if len(sentence) > 0 && !sentence[0].name {
		sentence[0].text = capital(sentence[0].text)
	}
	return sentence
}

// tellHost says what a host product recorded, by the name that it gave it.
func (t *teller) tellHost(e *logEntry) []word {
	sentence := []word{named(e.Actor.called())}
	if e.OnBehalfOf != nil {
		sentence = []word{named(e.OnBehalfOf.called()), {text: " by "}, named(e.Actor.called())}
	}
	sentence = append(sentence, word{text: ": "}, named(e.Action), word{text: " · " + inWords(e.Target.Type) + " "})
	return append(sentence, named(cmp.Or(e.Target.Name, e.Target.ID)))
}

// add joins pieces, leaving out those without text.
func add(sentence []word, words ...word) []word {
	for _, w := range words {
		if w.text != "" {
			sentence = append(sentence, w)
		}
	}
	return sentence
}

// fill gives what stands for a word in braces.
func (t *teller) fill(e *logEntry, field string) []word {
	before, after := e.values()
	name := func(text string) []word { return []word{named(text)} }
	plain := func(text string) []word { return []word{{text: text}} }
	themselves := e.Target.Type == "member" && e.Actor.Type == "user" && e.Target.ID == e.Actor.ID
	switch field {
	case "who":
		return name(e.Actor.called())
	case "whom":
		return name(cmp.Or(e.Target.Name, erased))
	case "whose":
		if themselves {
			return plain("their own")
		}
		return []word{named(cmp.Or(e.Target.Name, erased)), {text: "’s"}}
	case "for":
		if e.Target.Type == "member" && !themselves {
			return []word{{text: " for "}, named(cmp.Or(e.Target.Name, erased))}
		}
	case "team":
		return plain(t.labels.team)
	case "site":
		return plain(cmp.Or(t.labels.site, "site"))
	case "sites":
		return plain(cmp.Or(t.labels.sites, "sites"))
	case "name":
		if text := cmp.Or(after.text("name"), before.text("name"), e.Target.Name); text != "" {
			return []word{{text: " "}, named(text)}
		}
	case "name.before":
		return name(cmp.Or(before.text("name"), e.Target.Name, e.Target.ID, "without a name"))
	case "name.after":
		return name(cmp.Or(after.text("name"), e.Target.Name, e.Target.ID, "without a name"))
	case "role.before":
		return []word{softly(t.role(before.text("role")))}
	case "role.after":
		return []word{softly(t.role(after.text("role")))}
	case "plan.before":
		return plain(inWords(before.text("plan")))
	case "plan.after":
		return plain(inWords(after.text("plan")))
	case "former":
		if role := before.text("role"); role != "" {
			return []word{{text: ", who was "}, softly(t.role(role))}
		}
	case "places":
		return t.places(after.grants("sites"), ", with ")
	case "taken":
		return t.places(before.grants("sites"), ": ")
	case "moves":
		return t.moves(before.grants("sites"), after.grants("sites"))
	case "overrides":
		return plain(overridesInWords(before, after))
	case "dropped":
		return plain(listed(": ", slices.Concat(before.texts("granted"), before.texts("revoked"))))
	case "replaced":
		if role := after.text("replacement"); role != "" {
			return []word{{text: " and put "}, softly(t.role(role)), {text: " in its place"}}
		}
	case "outcome":
		return plain(fmt.Sprintf(": %d kept, %d removed, %d left, %d undecided",
			after.number("kept"), after.number("removed"), after.number("left"), after.number("undecided")))
	case "left":
		return plain(fmt.Sprint(after.number("left")))
	case "ending":
		if after.text("expires_at") == "" {
			return plain("took the last day off")
		}
		return plain("limited")
	case "until":
		if at, ok := after.moment("expires_at"); ok {
			return plain(" until " + at.UTC().Format("2 Jan 2006, 15:04 UTC"))
		}
	case "policy":
		return t.policy(after)
	}
	return nil
}

// role is what a role is called; a key, when it is known by no other name.
func (t *teller) role(key string) string { return cmp.Or(t.roles[key], key, "no role") }

// place is what a site is called.
func (t *teller) place(id string) string {
	return cmp.Or(t.sites[id], "a former "+cmp.Or(t.labels.site, "site"))
}

// places lists roles on sites: ", with Manager on North and Viewer on South".
func (t *teller) places(grants map[string]string, lead string) (words []word) {
	for i, id := range t.sorted(grants) {
		words = append(words, word{text: lead}, softly(t.role(grants[id])), word{text: " on "}, named(t.place(id)))
		if lead = ", "; i == maxListed-1 && len(grants) > maxListed {
			return append(words, word{text: fmt.Sprintf(" and %d more", len(grants)-maxListed)})
		}
	}
	return words
}

// maxListed is how many things a sentence lists before it counts the rest.
const maxListed = 3

// moves says what differs between two sets of roles on sites.
func (t *teller) moves(before, after map[string]string) (words []word) {
	all := maps.Clone(before)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, after)
	lead, shown, more := ": ", 0, 0
	for _, id := range t.sorted(all) {
		was, is := before[id], after[id]
		if was == is {
			continue
		}
		if shown++; shown > maxListed {
			more++
			continue
		}
		words = append(words, word{text: lead}, named(t.place(id)))
		lead = ", "
		switch {
		case was == "":
			words = append(words, word{text: " as "}, softly(t.role(is)))
		case is == "":
			words = append(words, word{text: " no more"})
		default:
			words = append(words, word{text: " from "}, softly(t.role(was)), word{text: " to "}, softly(t.role(is)))
		}
	}
	if more > 0 {
		words = append(words, word{text: fmt.Sprintf(" and %d more", more)})
	}
	return words
}

// sorted are the ids of sites in the order of their names.
func (t *teller) sorted(grants map[string]string) []string {
	return slices.SortedFunc(maps.Keys(grants), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.place(a), t.place(b)), cmp.Compare(a, b))
	})
}

// policy says of whom a second factor is required.
func (t *teller) policy(after values) []word {
	switch after.text("required") {
	case "everyone":
		return []word{{text: "required two-factor sign-in of everyone"}}
	case "roles":
		words := []word{{text: "required two-factor sign-in of "}}
		for i, role := range after.texts("roles") {
			if i > 0 {
				words = append(words, word{text: ", "})
			}
			words = append(words, softly(t.role(role)))
		}
		return words
	}
	return []word{{text: "made two-factor sign-in voluntary"}}
}

// overridesInWords says what differs between two sets of overrides.
func overridesInWords(before, after values) string {
	is := slices.Concat(after.texts("granted"), after.texts("revoked"))
	was := slices.Concat(before.texts("granted"), before.texts("revoked"))
	var parts []string
	for _, part := range []string{
		listed("granted ", without(after.texts("granted"), before.texts("granted"))),
		listed("revoked ", without(after.texts("revoked"), before.texts("revoked"))),
		listed("back to the role for ", without(was, is)),
	} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, "; ")
}

// without are the items that aren't among the others.
func without(items, others []string) []string {
	return slices.DeleteFunc(slices.Clone(items), func(item string) bool { return slices.Contains(others, item) })
}

// listed lists permissions behind a lead; nothing when there are none.
func listed(lead string, permissions []string) string {
	if len(permissions) == 0 {
		return ""
	}
	more := ""
	if len(permissions) > maxListed {
		more = fmt.Sprintf(" and %d more", len(permissions)-maxListed)
		permissions = permissions[:maxListed]
	}
	return lead + strings.Join(permissions, ", ") + more
}

// inWords makes a key readable: "trade_offers" becomes "Trade offers".
func inWords(key string) string {
	if key == "" {
		return "none"
	}
	return capital(strings.NewReplacer("_", " ", ".", " ", "-", " ").Replace(key))
}
