"""A class: one comparison, as many seeds as students, predictions before results. Nothing here knows of Gradio."""
