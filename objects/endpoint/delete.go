package endpoint

import (
	"encoding/xml"
	"errors"
	"net/http"
)

// most keys of a DeleteObjects.
const deleteKeys = 1000

type deleteObject struct {
	Key       string
	VersionID string `xml:"VersionId,omitempty"`
	ETag      string `xml:",omitempty"`
}

type deleteRequest struct {
	XMLName xml.Name `xml:"Delete"`
	Objects []struct {
		Key              *string
		VersionID        string `xml:"VersionId"`
		ETag             string
		LastModifiedTime string
		Size             string
	} `xml:"Object"`
	Quiet bool
}

type deleted struct {
	Key                   string
	VersionID             string `xml:"VersionId,omitempty"`
	DeleteMarker          bool   `xml:",omitempty"`
	DeleteMarkerVersionID string `xml:"DeleteMarkerVersionId,omitempty"`
}

type deleteError struct {
	Key       string
	VersionID string `xml:"VersionId,omitempty"`
	Code      string
	Message   string
}

type deleteResult struct {
	XMLName xml.Name      `xml:"DeleteResult"`
	Space   string        `xml:"xmlns,attr"`
	Deleted []deleted     `xml:"Deleted"`
	Errors  []deleteError `xml:"Error"`
}

// deleteObjects deletes several objects, each as far as the caller may.
func (e *Endpoint) deleteObjects(r *request) error {
	text, err := r.document("Delete")
	if err != nil {
		return err
	}
	var in deleteRequest
	if err := parse(text, &in); err != nil {
		return err
	}
	if len(in.Objects) == 0 || len(in.Objects) > deleteKeys {
		return errMalformedXML
	}
	out := deleteResult{Space: namespace}
	var ask struct {
		XMLName xml.Name       `xml:"Delete"`
		Objects []deleteObject `xml:"Object"`
		Quiet   bool
	}
	refused := func(o deleteObject, err error) error {
		var because *Error
		if because, _ = errors.AsType[*Error](err); because == nil {
			return err
		}
		out.Errors = append(out.Errors, deleteError{o.Key, o.VersionID, because.Code, because.Message})
		return nil
	}
	for _, o := range in.Objects {
		if o.Key == nil || *o.Key == "" {
			return errMalformedXML
		}
		if o.LastModifiedTime != "" || o.Size != "" {
			return errNotImplemented.messagef("Lamina does not offer deletions on condition of a time or a size.")
		}
		one := deleteObject{Key: *o.Key, VersionID: o.VersionID, ETag: o.ETag}
		if err := e.mayDelete(r, one); err != nil {
			if err := refused(one, err); err != nil {
				return err
			}
			continue
		}
		ask.Objects = append(ask.Objects, one)
	}
	if len(ask.Objects) > 0 {
		f := r.forwarded()
		f.setBody(marshal(ask))
		a, err := e.ask(r.ctx(), f)
		if err != nil {
			return err
		}
		var answered deleteResult
		if err := xml.Unmarshal(a.body, &answered); err != nil {
			return err
		}
		for _, d := range answered.Deleted {
			c := changed{key: d.Key, version: d.VersionID}
			event := "ObjectRemoved:Delete"
			if d.DeleteMarker && d.VersionID == "" {
				event, c.version = "ObjectRemoved:DeleteMarkerCreated", d.DeleteMarkerVersionID
			}
			if err := e.notify(r, event, c); err != nil {
				return err
			}
		}
		if !in.Quiet {
			out.Deleted = answered.Deleted
		}
		out.Errors = append(out.Errors, answered.Errors...)
	}
	return r.writeXML(http.StatusOK, marshal(out))
}

// mayDelete asks for the permissions on one object.
func (e *Endpoint) mayDelete(r *request, o deleteObject) error {
	if err := checkKey(o.Key); err != nil {
		return err
	}
	asked := *r
	asked.key, asked.query, asked.op = o.Key, values{}, nil
	if o.VersionID != "" {
		asked.query["versionId"] = o.VersionID
	}
	asked.op = deletesOne
	return e.authorize(&asked)
}

// deletesOne is DeleteObject, for its permissions.
var deletesOne = &operation{name: "DeleteObject", action: "s3:DeleteObject", versioned: "s3:DeleteObjectVersion", needs: needsBypass}
