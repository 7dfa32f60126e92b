"""Labelled texts: tables read from files, their classes, how they are split, and which texts come twice."""
