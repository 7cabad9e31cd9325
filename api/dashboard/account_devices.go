package dashboard

import "strings"

// seen is what a User-Agent header says of a device, in words.
type seen struct {
	words string
	phone bool
}

// Programs and systems by what their User-Agent headers have in them, in the
// order of looking: nearly every browser also names those that it takes after.
var (
	browsers = [][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"Vivaldi", "Vivaldi"}, {"SamsungBrowser", "Samsung Internet"},
		{"FxiOS", "Firefox"}, {"Firefox/", "Firefox"}, {"CriOS", "Chrome"}, {"HeadlessChrome", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	systems = [][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"CrOS", "ChromeOS"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"},
	}
)

// device puts a User-Agent header into words: "Firefox on Windows". What it
// says is the visitor's own claim.
func device(userAgent string) seen {
	find := func(among [][2]string) string {
		for _, one := range among {
			if strings.Contains(userAgent, one[0]) {
				return one[1]
			}
		}
		return ""
	}
	browser, system := find(browsers), find(systems)
	phone := system == "iPhone" || system == "Android" && strings.Contains(userAgent, "Mobile")
	switch {
	case browser != "" && system != "":
		return seen{browser + " on " + system, phone}
	case browser != "":
		return seen{browser, phone}
	}
	// A program that is no browser begins with its own name.
	name, _, _ := strings.Cut(userAgent, "/")
	if name = strings.TrimSpace(name); name == "" || name == "Mozilla" {
		return seen{words: "Unknown device"}
	}
	return seen{words: name}
}
