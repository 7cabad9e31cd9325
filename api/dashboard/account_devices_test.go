package dashboard

import "testing"

func TestDevicesInWords(t *testing.T) {
	for userAgent, want := range map[string]seen{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36":                                {"Chrome on Windows", false},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0":                  {"Edge on Windows", false},
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15":                          {"Safari on macOS", false},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1":        {"Safari on iPhone", true},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/139.0.7258.76 Mobile/15E148 Safari/604.1": {"Chrome on iPhone", true},
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36":            {"Samsung Internet on Android", true},
		"Mozilla/5.0 (Android 15; Tablet; rv:141.0) Gecko/141.0 Firefox/141.0":                                                                           {"Firefox on Android", false},
		"Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0":                                                                         {"Firefox on Linux", false},
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36":                                 {"Chrome on ChromeOS", false},
		"curl/8.14.1":            {"curl", false},
		"Go-http-client/1.1":     {"Go-http-client", false},
		"<script>alert(1)":       {"<script>alert(1)", false},
		"Mozilla/5.0":            {"Unknown device", false},
		"":                       {"Unknown device", false},
		"/":                      {"Unknown device", false},
		"Firefox/1 of no system": {"Firefox", false},
	} {
		if got := device(userAgent); got != want {
			t.Errorf("%q is %v, not %v", userAgent, got, want)
		}
	}
}
