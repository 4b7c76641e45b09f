"""The four-network race: slim LeNet, AlexNet, VGG and GoogLeNet on `data.shapes`, and what becomes of them without
one of their ideas. `python -m cnnbook.race` says what it can do; `results.json` is what it found."""
