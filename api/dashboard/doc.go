// Package dashboard is the pages that team admins live in: signing up and in,
// the team, its audit log and its settings, in the words of the team's role
// catalog.
//
// The pages are a client of the HTTP interface like any other. A page makes its
// requests in the process, with the reader's own credential, and shows the
// answers; a form becomes the request that it stands for. So a page can't show
// or do more than the interface allows its reader, and whatever a page does, a
// host's own pages can do.
//
// Every page is whole without JavaScript: links lead to pages, forms are posted
// and answered with a redirect or with the form again. With JavaScript, what a
// link marked by [inSheet] leads to opens in a dialog over the page, and a page
// that shows a team follows its stream of changes and renews itself.
package dashboard
