package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"roster/api/dashboard"
	"roster/domain"
)

// brand is how the pages look: as the flags say, and by the name that the
// chosen role catalog has for the product.
func (c *serveCommand) brand(chosen *domain.Catalog) (brand dashboard.Brand, err error) {
	brand = dashboard.Brand{Name: cmp.Or(c.BrandName, chosen.Labels.Product), Accent: c.BrandAccent}
	if err := dashboard.CheckName(c.BrandName); err != nil {
		return brand, fmt.Errorf("--brand-name %w", err)
	}
	if c.BrandAccent != "" {
		if err := dashboard.CheckAccent(c.BrandAccent); err != nil {
			return brand, fmt.Errorf("--brand-accent %w", err)
		}
	}
	if c.BrandLogo != "" {
		if brand.Logo, err = readLogo(c.BrandLogo); err != nil {
			return brand, fmt.Errorf("--brand-logo can't be read: %w", err)
		}
		if err := dashboard.CheckLogo(brand.Logo); err != nil {
			return brand, fmt.Errorf("--brand-logo %w", err)
		}
	}
	return brand, nil
}

// readLogo reads a picture, and of one that is too large no more than tells so.
func readLogo(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, dashboard.MaxLogo+1))
}

// billingURL reads where plans are changed; nil for nowhere.
func billingURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	billing, err := url.Parse(text)
	if err != nil || (billing.Scheme != "http" && billing.Scheme != "https") || billing.Hostname() == "" || billing.User != nil {
		return nil, errors.New("--billing-url must be a whole address such as https://example.com/billing")
	}
	return billing, nil
}
