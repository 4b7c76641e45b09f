"""Published errors of 2012 to 2014 on ILSVRC, as rows."""

VGG = "Simonyan & Zisserman 2015, table 7"
GOOGLENET = "Szegedy et al. 2014, table 3"
UNSTATED = "not stated"

# Method, year, nets (0: several, the number not given), views of a test image, errors in %: top-1 validation, top-5
# validation, top-5 test, source. Table 7 prints one number for GoogLeNet's validation and test errors; table 3 is on
# the validation images.
_RESULTS = (
    ("VGG", 2014, 2, "multi-crop & dense", 23.7, 6.8, 6.8, VGG),
    ("VGG", 2014, 1, "multi-crop & dense", 24.4, 7.1, 7.0, VGG),
    ("VGG, as submitted", 2014, 7, "dense", 24.7, 7.5, 7.3, VGG),
    ("GoogLeNet", 2014, 1, UNSTATED, None, 7.9, 7.9, VGG),
    ("GoogLeNet", 2014, 7, UNSTATED, None, 6.7, 6.7, VGG),
    ("MSRA", 2014, 11, UNSTATED, None, None, 8.1, VGG),
    ("MSRA", 2014, 1, UNSTATED, 27.9, 9.1, 9.1, VGG),
    ("Clarifai", 2013, 0, UNSTATED, None, None, 11.7, VGG),
    ("Clarifai", 2013, 1, UNSTATED, None, None, 12.5, VGG),
    ("Zeiler & Fergus", 2013, 6, UNSTATED, 36.0, 14.7, 14.8, VGG),
    ("Zeiler & Fergus", 2013, 1, UNSTATED, 37.5, 16.0, 16.1, VGG),
    ("OverFeat", 2013, 7, UNSTATED, 34.0, 13.2, 13.6, VGG),
    ("OverFeat", 2013, 1, UNSTATED, 35.7, 14.2, None, VGG),
    ("Krizhevsky et al.", 2012, 5, UNSTATED, 38.1, 16.4, 16.4, VGG),
    ("Krizhevsky et al.", 2012, 1, UNSTATED, 40.7, 18.2, None, VGG),
    ("GoogLeNet", 2014, 1, "1 crop", None, 10.07, None, GOOGLENET),
    ("GoogLeNet", 2014, 1, "10 crops", None, 9.15, None, GOOGLENET),
    ("GoogLeNet", 2014, 1, "144 crops", None, 7.89, None, GOOGLENET),
    ("GoogLeNet", 2014, 7, "1 crop", None, 8.09, None, GOOGLENET),
    ("GoogLeNet", 2014, 7, "10 crops", None, 7.62, None, GOOGLENET),
    ("GoogLeNet", 2014, 7, "144 crops", None, 6.67, None, GOOGLENET),
)
_COLUMNS = ("method", "year", "nets", "views", "top1val", "top5val", "top5test", "source")
ROWS = [dict(zip(_COLUMNS, row, strict=True)) for row in _RESULTS]
