package dashboard

import (
	"cmp"
	"strings"
)

// agentInWords says what a user agent is: "Firefox on Linux". Browsers claim to
// be one another, so the order of the marks counts.
func agentInWords(agent string) string {
	if agent = strings.TrimSpace(agent); agent == "" {
		return "Not told"
	}
	find := func(marks ...[2]string) string {
		for _, mark := range marks {
			if strings.Contains(agent, mark[0]) {
				return mark[1]
			}
		}
		return ""
	}
	browser := find(
		[2]string{"Edg", "Edge"}, [2]string{"OPR/", "Opera"}, [2]string{"SamsungBrowser", "Samsung Internet"},
		[2]string{"Firefox/", "Firefox"}, [2]string{"FxiOS", "Firefox"}, [2]string{"CriOS", "Chrome"},
		[2]string{"Chrome/", "Chrome"}, [2]string{"Safari/", "Safari"},
	)
	system := find(
		[2]string{"iPhone", "iPhone"}, [2]string{"iPad", "iPad"}, [2]string{"Android", "Android"},
		[2]string{"Windows", "Windows"}, [2]string{"Mac OS X", "macOS"}, [2]string{"CrOS", "ChromeOS"}, [2]string{"Linux", "Linux"},
	)
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "":
		return browser
	}
	// A program names itself first: "curl/8.5.0", "Go-http-client/1.1".
	program, version, _ := strings.Cut(strings.Fields(agent)[0], "/")
	return cmp.Or(strings.TrimSpace(program+" "+version), "A program")
}
